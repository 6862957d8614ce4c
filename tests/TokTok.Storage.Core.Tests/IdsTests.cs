using TokTok.Storage.Core.Keys;
using TokTok.Storage.Core.Tests.Hashing;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests;

public sealed class IdsTests
{
    private const string Digits16 = "000102030405060708090a0b0c0d0e0f";
    private const string Digits32 = Digits16 + "101112131415161718191a1b1c1d1e1f";

    [Fact]
    public void Names_of_32_bytes_are_big_endian()
    {
        byte[] bytes = Convert.FromHexString(Digits32);
        var words = new Bytes32(0x0001020304050607, 0x08090a0b0c0d0e0f, 0x1011121314151617, 0x18191a1b1c1d1e1f);
        void AssertForms(Bytes32 value, string text, Action<byte[]> write)
        {
            byte[] back = new byte[32];
            write(back);
            Assert.Equal((words, Digits32), (value, text));
            Assert.Equal(bytes, back);
        }

        foreach (ArenaId id in (ArenaId[])[ArenaId.New(new CountingRandom()), ArenaId.Read(bytes)])
        {
            AssertForms(id.Bytes, id.ToString(), back => id.Write(back));
        }

        var name = FragmentName.Read(bytes);
        AssertForms(name.Bytes, name.ToString(), back => name.Write(back));
        var score = Score.Read(bytes);
        AssertForms(score.Bytes, score.Bytes.ToString(), back => score.Write(back));
        Assert.Equal(Digits32[..16], score.ToString());
        Assert.Equal(0x18191a1b1c1d1e1fUL, score.LastWord);
    }

    [Fact]
    public void Names_of_16_bytes_are_big_endian()
    {
        byte[] bytes = Convert.FromHexString(Digits16);
        void AssertForms(Bytes16 value, string text, Action<byte[]> write)
        {
            byte[] back = new byte[16];
            write(back);
            Assert.Equal((new Bytes16(0x0001020304050607, 0x08090a0b0c0d0e0f), Digits16), (value, text));
            Assert.Equal(bytes, back);
        }

        foreach (VolumeId id in (VolumeId[])[VolumeId.New(new CountingRandom()), VolumeId.Read(bytes)])
        {
            AssertForms(id.Bytes, id.ToString(), back => id.Write(back));
        }

        foreach (HolderId id in (HolderId[])[HolderId.New(new CountingRandom()), HolderId.Read(bytes)])
        {
            AssertForms(id.Bytes, id.ToString(), back => id.Write(back));
        }

        foreach (DomainId id in (DomainId[])[DomainId.New(new CountingRandom()), DomainId.Read(bytes)])
        {
            AssertForms(id.Bytes, id.ToString(), back => id.Write(back));
        }

        var tag = AccountTag.Read(bytes);
        AssertForms(tag.Bytes, tag.ToString(), back => tag.Write(back));
    }

    [Fact]
    public void New_names_ask_for_a_source_of_randomness()
    {
        Assert.Throws<ArgumentNullException>(() => ArenaId.New(null!));
        Assert.Throws<ArgumentNullException>(() => VolumeId.New(null!));
        Assert.Throws<ArgumentNullException>(() => HolderId.New(null!));
        Assert.Throws<ArgumentNullException>(() => DomainId.New(null!));
        Assert.NotEqual(ArenaId.New(SystemRandom.Instance), ArenaId.New(SystemRandom.Instance));
    }

    [Fact]
    public void Scores_are_ordered_as_their_bytes_are()
    {
        byte[] bytes = Blake3Tests.Input(Score.Size);
        bytes.AsSpan().Fill(0x80);
        var middle = Score.Read(bytes);
        Assert.True(middle.CompareTo(Score.Read(bytes)) == 0 && middle <= Score.Read(bytes) && middle >= Score.Read(bytes));
        Assert.False(middle < Score.Read(bytes) || middle > Score.Read(bytes));
        for (int i = 0; i < Score.Size; i++)
        {
            // All later bytes say the opposite: the first difference decides.
            byte[] less = [.. bytes];
            less[i] = 0x7f;
            less.AsSpan(i + 1).Fill(0xff);
            var smaller = Score.Read(less);
            Assert.True(smaller.CompareTo(middle) < 0 && middle.CompareTo(smaller) > 0, $"byte {i}");
            Assert.True(smaller < middle && smaller <= middle && middle > smaller && middle >= smaller, $"byte {i}");
            Assert.False(middle < smaller || middle <= smaller || smaller > middle || smaller >= middle, $"byte {i}");
        }
    }

    [Fact]
    public void A_block_is_new_when_it_takes_bytes_and_a_missing_one_is_not_found()
    {
        Assert.True(new BlockWrite(default, 1).IsNew);
        Assert.False(new BlockWrite(default, 0).IsNew);
        Assert.Equal((false, 0), (BlockRead.Missing.IsFound, BlockRead.Missing.Bytes));
    }

    [Fact]
    public void A_disk_failure_says_operation_path_and_reason_in_one_line()
    {
        var failure = new DiskException(DiskFailure.Full, "write", "/a/b", "no space left");
        Assert.Equal("write /a/b: no space left", failure.Message);
        Assert.Equal((DiskFailure.Full, "write", "/a/b"), (failure.Failure, failure.Operation, failure.Path));
    }
}
