using System.Buffers;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text.Json;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Interop;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Core.Tests.Encryption;

public sealed class ArenaCipherTests
{
    private static byte[] Key { get; } = [.. Enumerable.Range(0, 32).Select(i => (byte)i)];

    [Fact]
    public void SP800_38A_F_5_5_CTR_AES256()
    {
        JsonElement vector = Read("aesctr/sp800-38a.json");
        byte[] key = Bytes(vector, "key");
        byte[] counter = Bytes(vector, "counter");
        byte[] managed = Bytes(vector, "plain");
        ArenaCipher.TransformManaged(key, counter, 0, managed);
        Assert.Equal(Bytes(vector, "cipher"), managed);
        if (Evp.IsAvailable)
        {
            byte[] native = Bytes(vector, "plain");
            ArenaCipher.TransformNative(key, counter, 0, native);
            Assert.Equal(Bytes(vector, "cipher"), native);
        }
    }

    [Fact]
    public void The_keystream_is_the_one_that_the_openssl_command_gives()
    {
        JsonElement vector = Read("aesctr/openssl.json");
        byte[] stream = new byte[70_000];
        ArenaCipher.Transform(Bytes(vector, "key"), 0, stream);
        Assert.Equal(Bytes(vector, "first64"), stream[..64]);
        Assert.Equal(Bytes(vector, "from69936"), stream[69_936..]);
        Assert.Equal(Bytes(vector, "sha256"), SHA256.HashData(stream));
        byte[] high = new byte[48];
        ArenaCipher.Transform(Bytes(vector, "key"), (1L << 40) - 32, high);
        Assert.Equal(Bytes(vector, "from2p40minus32"), high);
        Array.Clear(high);
        ArenaCipher.TransformManaged(Bytes(vector, "key"), Counter((1UL << 36) - 2), 0, high);
        Assert.Equal(Bytes(vector, "from2p40minus32"), high);
    }

    [Fact]
    public void The_example_of_the_format_page_is_what_is_written()
    {
        byte[] data = new byte[32];
        ArenaCipher.Transform(Key, 8, data);
        Assert.Equal(Repository.FormatExample("2.5"), data);
    }

    [Fact]
    public void Any_range_by_either_implementation_is_a_slice_of_the_whole()
    {
        byte[] whole = new byte[100_000];
        ArenaCipher.Transform(Key, 0, whole);
        using var cipher = new ArenaCipher(Key);
        int[] offsets = [0, 1, 15, 16, 17, 4095, 16_383, 16_384, 16_385, 65_536 - 3];
        int[] lengths = [0, 1, 15, 16, 17, 31, 33, 16_384, 16_385, 33_000];
        foreach (int offset in offsets)
        {
            foreach (int length in lengths)
            {
                byte[] range = new byte[length], managed = new byte[length];
                cipher.Transform(offset, range);
                ArenaCipher.TransformManaged(Key, Counter((ulong)offset / 16), offset % 16, managed);
                Assert.True(whole.AsSpan(offset, length).SequenceEqual(range), $"offset {offset}, length {length}");
                Assert.True(whole.AsSpan(offset, length).SequenceEqual(managed), $"managed, offset {offset}, length {length}");
            }
        }
    }

    [Fact]
    public void Twice_is_the_plaintext_again()
    {
        byte[] plain = new byte[5000], data = new byte[5000];
        new SeededRandom(5).Fill(plain);
        plain.CopyTo(data, 0);
        ArenaCipher.Transform(Key, 123_456_789_012, data);
        Assert.NotEqual(plain, data);
        ArenaCipher.Transform(Key, 123_456_789_012, data);
        Assert.Equal(plain, data);
    }

    [Fact]
    public void Either_implementation_mixes_the_keystream_into_whatever_the_data_is()
    {
        byte[] keystream = new byte[100];
        ArenaCipher.Transform(Key, 0, keystream);
        for (int length = 0; length <= keystream.Length; length++)
        {
            byte[] ones = new byte[length], managed = new byte[length];
            ones.AsSpan().Fill(0xff);
            managed.AsSpan().Fill(0xff);
            ArenaCipher.Transform(Key, 0, ones);
            ArenaCipher.TransformManaged(Key, Counter(0), 0, managed);
            Assert.Equal(keystream[..length].Select(b => (byte)(b ^ 0xff)), ones);
            Assert.Equal(ones, managed);
        }
    }

    [Fact]
    public void A_disposed_cipher_refuses_and_has_forgotten_its_key()
    {
        var cipher = new ArenaCipher(Key);
        Assert.Equal(Key, KeyOf(cipher));
        cipher.Dispose();
        Assert.Equal(new byte[32], KeyOf(cipher));
        Assert.Throws<ObjectDisposedException>(() => cipher.Transform(0, new byte[1]));
    }

    [Fact]
    public void The_keystream_goes_back_to_the_pool_zeroed()
    {
        // The pool hands a thread what that thread returned last.
        byte[] rented = ArrayPool<byte>.Shared.Rent(16 * 1024);
        rented.AsSpan().Fill(0xee);
        ArrayPool<byte>.Shared.Return(rented);
        ArenaCipher.TransformManaged(Key, Counter(0), 0, new byte[5000]);
        byte[] again = ArrayPool<byte>.Shared.Rent(16 * 1024);
        Assert.Same(rented, again);
        Assert.False(again.AsSpan().ContainsAnyExcept((byte)0));
        ArrayPool<byte>.Shared.Return(again);
    }

    [Fact]
    public void Keys_of_another_size_and_negative_offsets_are_refused()
    {
        Assert.Throws<ArgumentException>(() => ArenaCipher.Transform(new byte[16], 0, new byte[1]));
        Assert.Throws<ArgumentException>(() => new ArenaCipher(new byte[16]));
        Assert.Throws<ArgumentOutOfRangeException>(() => ArenaCipher.Transform(Key, -1, new byte[1]));
    }

    private static byte[] Counter(ulong block)
    {
        byte[] counter = new byte[16];
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(counter.AsSpan(8), block);
        return counter;
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_key")]
    private static extern ref byte[] KeyOf(ArenaCipher cipher);

    private static JsonElement Read(string path) => JsonDocument.Parse(File.ReadAllText(Repository.Vector(path))).RootElement;

    private static byte[] Bytes(JsonElement vector, string name) => Convert.FromHexString(vector.GetProperty(name).GetString()!);
}
