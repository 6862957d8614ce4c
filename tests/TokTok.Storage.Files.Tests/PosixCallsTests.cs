using System.Text;
using TokTok.Storage.Files.Posix;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Files.Tests;

[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class PosixCallsTests
{
    [Fact]
    public void Stat_says_what_the_runtime_says()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder.At("x"), "12345");
        File.SetUnixFileMode(folder.At("x"), UnixFileMode.UserRead | UnixFileMode.GroupExecute);
        var time = new DateTime(2021, 3, 4, 5, 6, 7, DateTimeKind.Utc);
        File.SetLastWriteTimeUtc(folder.At("x"), time);
        int directory = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(folder.Path));
        Assert.Equal(0, PosixCalls.Stat(directory, "x"u8, out FileStat stat));
        Assert.Equal(PosixType.File, stat.Type);
        Assert.Equal(5, stat.SizeBytes);
        Assert.Equal(0x108u, stat.Permissions);
        Assert.Equal((time - DateTime.UnixEpoch).Ticks * 100, stat.ModifyNs);
        Assert.Equal(1u, stat.LinkCount);
        Assert.Equal(PosixCalls.EffectiveUser, stat.Uid);
        Assert.Equal(-Errno.ENOENT, PosixCalls.Stat(directory, "y"u8, out _));
        PosixCalls.Close(directory);
    }

    [Fact]
    public void Nothing_is_opened_through_a_symbolic_link()
    {
        using var folder = new TempFolder();
        _ = File.CreateSymbolicLink(folder.At("link"), "/etc/passwd");
        _ = Directory.CreateSymbolicLink(folder.At("folder"), "/etc");
        int directory = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(folder.Path));
        Assert.Equal(-Errno.ELOOP, PosixCalls.OpenFile(directory, "link"u8, keepAccessTime: true));
        Assert.True(PosixCalls.OpenDirectory(directory, "folder"u8) is -Errno.ELOOP or -Errno.ENOTDIR);
        PosixCalls.Close(directory);
    }

    [Theory]
    [InlineData(1 << 20)]
    [InlineData(2000)]
    [InlineData(100)]
    public void Names_come_in_byte_order_whatever_the_budget(int budgetBytes)
    {
        using var folder = new TempFolder();
        var expected = new List<string>();
        for (int i = 0; i < 1000; i++)
        {
            string name = $"{unchecked((uint)(i * 2654435761)):x8}{new string('x', i % 7)}";
            File.WriteAllBytes(folder.At(name), []);
            expected.Add(name);
        }

        expected.Sort(StringComparer.Ordinal);
        int directory = PosixCalls.OpenPath(Encoding.UTF8.GetBytes(folder.Path));
        using var names = new DirectoryNames(directory, budgetBytes);
        var found = new List<string>();
        int error;
        while (names.TryNext(out ReadOnlySpan<byte> name, out PosixType type, out error))
        {
            Assert.Equal(PosixType.File, type);
            found.Add(Encoding.ASCII.GetString(name));
        }

        PosixCalls.Close(directory);
        Assert.Equal(0, error);
        Assert.Equal(expected, found);
        Assert.Equal(budgetBytes == 1 << 20, names.PassCount == 1);
    }

    [Fact]
    public void Users_are_known_by_name_and_number()
    {
        var names = new PosixNames();
        Assert.Equal("root", names.UserName(0));
        Assert.Equal("root", names.GroupName(0));
        Assert.Equal(0u, names.UserNumber("root", 77));
        Assert.Equal(77u, names.UserNumber("no such user at all", 77));
        Assert.Empty(names.UserName(3_999_999_999));
    }

    [Fact]
    public void Device_numbers_survive_being_split_and_joined()
    {
        Assert.Equal(0x103ul, PosixCalls.MakeDevice(1, 3));
        Assert.Equal((70_000ul >> 8 << 20) | (250ul << 8) | (70_000 & 0xff), PosixCalls.MakeDevice(250, 70_000));
    }

    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("ünï", "ünï")]
    [InlineData("a\nb", "a\\x0ab")]
    [InlineData("a\\b", "a\\x5cb")]
    [InlineData("\u001b[2J", "\\x1b[2J")]
    [InlineData("a\u202eb", "a\\xe2\\x80\\xaeb")]
    public void A_name_is_shown_without_what_moves_a_terminal(string name, string shown) =>
        Assert.Equal(shown, PathText.Show(Encoding.UTF8.GetBytes(name)));

    [Fact]
    public void The_sample_tree_equals_its_twin_and_every_edit_is_a_difference()
    {
        using var folder = new TempFolder();
        Assert.Equal(SampleTree.Create(folder.At("a"), seed: 7, files: 60), SampleTree.Create(folder.At("b"), seed: 7, files: 60));
        Assert.Empty(TreeCompare.Differences(folder.At("a"), folder.At("b")));
        File.SetUnixFileMode(folder.At("b/special/one-byte"), UnixFileMode.UserRead);
        File.Delete(folder.At("b/special/links/second"));
        File.Copy(folder.At("b/special/links/first"), folder.At("b/special/links/second"));
        File.Delete(folder.At("b/special/dangling"));
        string shown = string.Join('\n', TreeCompare.Differences(folder.At("a"), folder.At("b")));
        Assert.Contains("mode: special/one-byte", shown, StringComparison.Ordinal);
        Assert.Contains("missing: special/dangling", shown, StringComparison.Ordinal);
        Assert.Contains("hard links: special/links/second", shown, StringComparison.Ordinal);
        Assert.Contains("time: special:", shown, StringComparison.Ordinal);
    }
}
