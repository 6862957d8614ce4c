using System.Diagnostics;

namespace TokTok.Storage.Mount.Tests.Fuse;

/// <summary>Programs in Python that work in a mount and know what must come of it. Skipped where there is no FUSE, no right to mount, or no python3.</summary>
public sealed class FuseBatteryTests
{
    private static bool IsLong => Environment.GetEnvironmentVariable("TDFS_LONG") == "1";

    /// <summary>What a mount knowingly does otherwise than ext4, by the beginnings of the lines that posix.py prints.</summary>
    private static readonly string[] s_knownDifferences =
    [
        "noop chown ", // the kernel does not tell a FUSE server of a chown that changes nothing
        "utime 17179869182000000000:", // ext4 ends in 2446
        "write suid no gx:", // set-group-id without the group's execute permission is not a privilege, and stays
        "data 5000:", // ext4 knows holes by the block, a volume by the byte
    ];

    /// <summary>What the kernel does otherwise when it gathers writes.</summary>
    private static readonly string[] s_writebackDifferences =
    [
        .. s_knownDifferences,
        "data ", "hole ", // all of a file is data
        "truncate same:", // a size that is set to what it is changes no times
    ];

    [Theory(Timeout = 300_000)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Posix_rules_are_those_of_ext4(bool writebackCache)
    {
        await using MountedVolume drive = await OpenAsync(writebackCache);
        Assert.SkipUnless((await drive.ShellAsync("stat -f -c %T \"$FOLDER\"")).Trim() == "ext2/ext3", "there is no ext4 beside the mount to compare it with");
        string script = Path.Join(AppContext.BaseDirectory, "Fuse", "posix.py");
        string there = Path.Join(drive.Folder, "ext4");
        string here = Path.Join(drive.Point, "battery");
        string[] expected = (await drive.ShellAsync($"chmod 755 \"$FOLDER\"; mkdir \"{there}\"; python3 \"{script}\" \"{there}\"")).Replace(there, "FOLDER", StringComparison.Ordinal).Split('\n');
        string[] found = (await drive.ShellAsync($"mkdir \"{here}\"; python3 \"{script}\" \"{here}\"")).Replace(here, "FOLDER", StringComparison.Ordinal).Split('\n');
        Assert.True(expected.Length > 2000, $"{expected.Length} lines");
        Assert.Equal(expected.Length, found.Length);
        string[] differences = writebackCache ? s_writebackDifferences : s_knownDifferences;
        Assert.Empty(expected.Zip(found).Where(pair => pair.First != pair.Second && !differences.Any(known => pair.First.StartsWith(known, StringComparison.Ordinal)))
            .Select(static pair => $"ext4: {pair.First}; here: {pair.Second}"));
    }

    public static TheoryData<int, bool> FileSeeds => IsLong ? [.. Enumerable.Range(Environment.TickCount & 0xFFFFFF, 20).Select(static seed => (seed, seed % 2 == 0))] : [(1, false), (2, true), (3, false)];

    [Theory(Timeout = 1_200_000)]
    [MemberData(nameof(FileSeeds))]
    public async Task A_file_reads_as_what_random_operations_made_of_it(int seed, bool writebackCache)
    {
        await using MountedVolume drive = await OpenAsync(writebackCache);
        _ = await drive.ShellAsync($"python3 \"{Path.Join(AppContext.BaseDirectory, "Fuse", "fsx.py")}\" file {seed} {(IsLong ? 55_000 : 4_000)}"); // over a million in the long run
    }

    public static TheoryData<int, bool> ModelSeeds => IsLong ? [.. Enumerable.Range(Environment.TickCount & 0xFFFFFF, 20).Select(static seed => (seed, seed % 2 == 0))] : [(1, false), (2, true)];

    /// <summary>Operations by path and by open file, of three users, with access control lists, links, renames and umasks; every answer and then the whole tree is compared, and after another
    /// mount every inode is what it was.</summary>
    [Theory(Timeout = 1_200_000)]
    [MemberData(nameof(ModelSeeds))]
    public async Task Random_operations_of_several_users_give_what_they_give_on_ext4(int seed, bool writebackCache)
    {
        await using MountedVolume drive = await OpenAsync(writebackCache);
        Assert.SkipUnless((await drive.ShellAsync("stat -f -c %T \"$FOLDER\"")).Trim() == "ext2/ext3", "there is no ext4 beside the mount to compare it with");
        string script = Path.Join(AppContext.BaseDirectory, "Fuse", "model.py");
        string there = Path.Join(drive.Folder, "ext4");
        string here = Path.Join(drive.Point, "model");
        _ = await drive.ShellAsync($"chmod 755 \"$FOLDER\"; mkdir \"{there}\" \"{here}\"");
        int steps = IsLong ? 10_000 : 2_000;
        for (int phase = 0; phase < 2; phase++)
        {
            int own = (seed * 10) + phase;
            string[] expected = (await drive.ShellAsync($"python3 \"{script}\" \"{there}\" {own} {steps}")).Split('\n');
            string[] found = (await drive.ShellAsync($"python3 \"{script}\" \"{here}\" {own} {steps}")).Split('\n');
            Assert.True(expected.Length > steps, $"{expected.Length} lines");
            int differs = expected.Zip(found).TakeWhile(static pair => pair.First == pair.Second).Count();
            Assert.True(differs == expected.Length && found.Length == expected.Length, $"seed {own}:\n{string.Join('\n', expected[Math.Max(0, differs - 25)..differs])}\next4: {expected.ElementAtOrDefault(differs)}\nhere: {found.ElementAtOrDefault(differs)}");
            string before = await drive.ShellAsync($"python3 \"{script}\" \"{here}\" inodes");
            await drive.RemountAsync();
            Assert.Equal(before, await drive.ShellAsync($"python3 \"{script}\" \"{here}\" inodes"));
        }
    }

    private static async Task<MountedVolume> OpenAsync(bool writebackCache)
    {
        try
        {
            using Process python = Process.Start(new ProcessStartInfo("python3", "--version") { RedirectStandardOutput = true })!;
            await python.WaitForExitAsync(TestContext.Current.CancellationToken);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("there is no python3");
        }

        return await MountedVolume.OpenAsync(writebackCache: writebackCache);
    }
}
