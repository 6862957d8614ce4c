using TokTok.Storage.Testing;

namespace TokTok.Storage.Tdfs.Tests.Faults;

/// <summary>A store that cannot be written: a disk mounted read-only, a folder whose modes say no. What reads works, what writes says why not.</summary>
public sealed class ReadOnlyStoreTests
{
    [Fact]
    public void Of_a_disk_mounted_read_only_everything_can_be_read_and_nothing_written()
    {
        using Drill drill = new();
        using MountSpace space = MountSpace.Open(drill);
        string mount = Path.Join(drill.Folder, "mount");
        Directory.CreateDirectory(mount);
        ProgramRun mounted = space.Run("mount", "-t", "tmpfs", "tmpfs", mount);
        Assert.SkipWhen(mounted.Code != 0, "tmpfs cannot be mounted here: " + mounted.LastLine);
        string store = Path.Join(mount, "store");
        Drill.WriteConfig(store);
        File.Copy(store + ".toml", space.Seen(store + ".toml"));
        space.Tdfs(store, "init", "--passphrase-fd", "0").AssertDone("init");
        space.Import(store, "one").AssertDone("import");
        space.Import(store, "two").AssertDone("import");
        space.Run("mount", "-o", "remount,ro", mount).AssertDone("remount");
        Try(drill, words => space.Tdfs(store, words), "read-only file system");
        space.Run("mount", "-o", "remount,rw", mount).AssertDone("remount");
        space.Tdfs(store, "forget", "one").AssertDone("forget, writable again");
    }

    [Fact]
    public void Of_a_folder_without_permission_to_write_everything_can_be_read_and_nothing_written()
    {
        using Drill drill = new();
        Func<string[], ProgramRun> run = words => drill.Run(words[0], words[1..]);
        if (MountSpace.IsRoot)
        {
            // Root may do what modes forbid, so another user is the owner. The program must be his to run, too.
            const string Nobody = "65534";
            Assert.SkipWhen(Drill.Missing("setpriv") is not null, Drill.Missing("setpriv") ?? "");
            drill.Run("chown", ["-R", Nobody + ":" + Nobody, drill.Folder]).AssertDone("chown");
            run = words => drill.Run("setpriv", ["--reuid", Nobody, "--regid", Nobody, "--clear-groups", .. words]);
            ProgramRun trial = run([Drill.Program, "--help"]);
            Assert.SkipWhen(trial.Code != 0, "the program cannot be run by another user here: " + trial.LastLine);
        }

        string store = Path.Join(drill.Folder, "store");
        Drill.WriteConfig(store);
        ProgramRun Tdfs(string[] words) => run([Drill.Program, .. Drill.Words(store, words)]);
        Tdfs(["init", "--passphrase-fd", "0"]).AssertDone("init");
        Tdfs(drill.ImportWords("one")).AssertDone("import");
        Tdfs(drill.ImportWords("two")).AssertDone("import");
        run(["chmod", "-R", "a-w", store]).AssertDone("chmod");
        Try(drill, Tdfs, "permission denied");
    }

    private static void Try(Drill drill, Func<string[], ProgramRun> tdfs, string reason)
    {
        foreach (string[] reading in (string[][])
            [
                ["snapshots"], ["ls", "latest", "-l"], ["cat", "one", "letters/letter-number-3.txt"], ["diff", "one", "two"], ["log", "v", "letters"],
                ["check", "--read-all"], ["status"], ["health", "latest"], ["reclaim", "--dry-run"], ["debug", "catalog"],
            ])
        {
            tdfs(reading).AssertDone(string.Join(' ', reading));
        }

        foreach (string label in (string[])["one", "two"])
        {
            string back = Path.Join(drill.Folder, "back-" + label);
            tdfs(["restore", label, back]).AssertDone("restore");
            Assert.Empty(TreeCompare.Differences(drill.TreeOf(label), back));
        }

        foreach (string[] writing in (string[][])[drill.ImportWords("two"), ["forget", "one"], ["reclaim"], ["repair"], ["reindex"]])
        {
            tdfs(writing).AssertSays(ExitCode.DiskFailed, reason);
        }

        Assert.Equal(2, tdfs(["snapshots"]).Output.Split('\n').Count(static line => line.StartsWith("v@", StringComparison.Ordinal)));
    }
}
