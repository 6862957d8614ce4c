using System.Diagnostics;

namespace TokTok.Storage.Tdfs.Tests.Faults;

/// <summary>The power of a real file system is cut: nothing that was not synced survives, and everything acknowledged does.</summary>
/// <remarks>
/// The cut is the going-down call of ext4 and xfs without a flush of the log, as xfstests uses it: from that instant nothing reaches the disk, and what stood in memory
/// only is gone after the next mount. Half of the cuts come right after an acknowledgement, half at a random moment of an import.
/// </remarks>
public sealed class PowerCutTests
{
    [Theory]
    [InlineData("ext4")]
    [InlineData("xfs")]
    public async Task Everything_acknowledged_is_there_after_the_power_was_cut(string fileSystem)
    {
        using Drill drill = new();
        using MountSpace space = MountSpace.Open(drill);
        string mount = Mount(drill, space, fileSystem);
        string store = Path.Join(mount, "store");
        Drill.WriteConfig(store);
        File.Copy(store + ".toml", space.Seen(store + ".toml"));
        space.Run("sync", "-f", mount).AssertDone("sync");
        space.Tdfs(store, "init", "--passphrase-fd", "0").AssertDone("init");
        Stopwatch time = Stopwatch.StartNew();
        space.Import(store, "one").AssertDone("import");
        int importMilliseconds = (int)time.ElapsedMilliseconds;

        List<string> acknowledged = ["one"];
        int seed = Environment.TickCount;
        Random random = new(seed);
        for (int cut = 0; cut < (Drill.IsLong ? 40 : 2); cut++)
        {
            string label = $"{(cut % 4 < 2 ? "two" : "one")}-{cut}";
            int wait = cut % 2 == 0 ? -1 : random.Next(importMilliseconds * 5 / 4);
            using (Process import = space.StartImport(store, label))
            {
                bool ended = import.WaitForExit(wait);
                space.Run("xfs_io", "-x", "-c", "shutdown", mount).AssertDone("shutdown");
                ProgramRun run = Drill.End(import);
                if (ended && run.Code == 0)
                {
                    acknowledged.Add(label);
                }
                else
                {
                    Assert.True(wait >= 0, $"an import that nothing disturbed failed: {run.Talk}");
                }
            }

            space.Run("umount", mount).AssertDone("umount");
            space.Run("mount", "-o", "loop", mount + ".img", mount).AssertDone("mount");
            Assert.True(File.Exists(space.Seen(store + "/keyring")), $"seed {seed}, cut {cut} of {fileSystem}: the keyring is gone");
            ProgramRun snapshots = space.Tdfs(store, "snapshots", "--json").AssertDone("snapshots");
            foreach (string kept in acknowledged)
            {
                Assert.True(snapshots.Output.Contains($"\"label\": \"{kept}\"", StringComparison.Ordinal), $"seed {seed}, cut {cut} of {fileSystem} after {wait} ms: {kept} is gone: {snapshots.Output}");
            }
        }

        await drill.VerifyAsync(space.Seen(store), acknowledged);
    }

    [Theory]
    [InlineData("ext4")]
    [InlineData("xfs")]
    public void The_cut_of_these_drills_loses_what_was_not_synced(string fileSystem)
    {
        using Drill drill = new();
        using MountSpace space = MountSpace.Open(drill);
        string mount = Mount(drill, space, fileSystem);
        space.Run("sh", "-c", $"echo kept > {mount}/synced && sync -f {mount} && echo lost > {mount}/unsynced && xfs_io -x -c shutdown {mount}").AssertDone("shutdown");
        space.Run("umount", mount).AssertDone("umount");
        space.Run("mount", "-o", "loop", mount + ".img", mount).AssertDone("mount");
        Assert.Equal("kept\n", File.ReadAllText(space.Seen(mount + "/synced")));
        Assert.False(File.Exists(space.Seen(mount + "/unsynced")));
    }

    /// <summary>A fresh file system in a file, mounted in the space; the test is skipped, and says why, where that is not possible.</summary>
    private static string Mount(Drill drill, MountSpace space, string fileSystem)
    {
        Assert.SkipUnless(MountSpace.IsRoot, "loop devices need root");
        string? missing = Drill.Missing("mkfs." + fileSystem, "xfs_io", "losetup");
        Assert.SkipWhen(missing is not null, missing ?? "");
        string mount = Path.Join(drill.Folder, "mount");
        Directory.CreateDirectory(mount);
        using (FileStream image = File.Create(mount + ".img"))
        {
            image.SetLength(400L << 20);
        }

        drill.Run("mkfs." + fileSystem, ["-q", mount + ".img"]).AssertDone("mkfs");
        ProgramRun mounted = space.Run("mount", "-o", "loop", mount + ".img", mount);
        Assert.SkipWhen(mounted.Code != 0, $"{fileSystem} cannot be mounted by a loop device here: {mounted.LastLine}");
        return mount;
    }
}
