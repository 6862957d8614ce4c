using System.Globalization;

namespace TokTok.Storage.Tdfs.Tests.Faults;

/// <summary>The disk is full, in bytes or in names: one clear line, nothing lost, and it goes on once there is space.</summary>
public sealed class FullDiskTests
{
    private const string NoSpace = "no space left on device";

    [Fact]
    public async Task An_import_into_a_full_disk_says_so_and_goes_on_once_there_is_space()
    {
        using Drill drill = new();
        using MountSpace space = MountSpace.Open(drill);
        string store = Mount(drill, space);
        space.Import(store, "one").AssertDone("import");
        List<string> acknowledged = ["one"];
        foreach (int spareKilobytes in Drill.IsLong ? Enumerable.Range(0, 60).Select(static i => i * 64) : [0, 24, 700, 2200])
        {
            Resize(space, store, spareKilobytes);
            ProgramRun run = space.Import(store, "two");
            if (run.Code == 0)
            {
                acknowledged.Add("two");
                break;
            }

            run.AssertSays(ExitCode.DiskFull, NoSpace);
            Assert.DoesNotContain("v@2", run.Output, StringComparison.Ordinal);
            Assert.Contains("v@1", space.Tdfs(store, "snapshots").AssertDone("snapshots of a full disk").Output, StringComparison.Ordinal);
        }

        Assert.Equal(["one"], acknowledged.Take(1));
        Grow(space, store);
        await drill.VerifyAsync(space.Seen(store), acknowledged);
    }

    [Fact]
    public async Task An_import_into_a_disk_that_has_no_room_for_another_name_says_so()
    {
        using Drill drill = new();
        using MountSpace space = MountSpace.Open(drill);
        string store = Mount(drill, space);
        space.Import(store, "one").AssertDone("import");
        List<string> acknowledged = ["one"];
        foreach (int spareNames in Drill.IsLong ? Enumerable.Range(0, 12) : [0, 1, 3])
        {
            int used = Directory.GetFileSystemEntries(space.Seen(Path.GetDirectoryName(store)!), "*", SearchOption.AllDirectories).Length + 1;
            space.Run("mount", "-o", string.Create(CultureInfo.InvariantCulture, $"remount,nr_inodes={used + spareNames}"), Path.GetDirectoryName(store)!).AssertDone("remount");
            ProgramRun run = space.Import(store, "two");
            if (run.Code == 0)
            {
                // The index let go of its files; without any room at all there was no way.
                Assert.NotEqual(0, spareNames);
                acknowledged.Add("two");
                break;
            }

            run.AssertSays(ExitCode.DiskFull, NoSpace, "No space left on device");
        }

        space.Run("mount", "-o", "remount,nr_inodes=100000", Path.GetDirectoryName(store)!).AssertDone("remount");
        await drill.VerifyAsync(space.Seen(store), acknowledged);
    }

    [Fact]
    public async Task Forget_and_reclaim_on_a_full_disk_lose_nothing_and_end_once_there_is_space()
    {
        using Drill drill = new();
        using MountSpace space = MountSpace.Open(drill);
        string store = Mount(drill, space);
        space.Import(store, "one").AssertDone("import");
        space.Import(store, "two").AssertDone("import");
        Resize(space, store, 0);
        space.Tdfs(store, "forget", "one").AssertSays(ExitCode.DiskFull, NoSpace);
        Grow(space, store);
        space.Tdfs(store, "forget", "one").AssertDone("forget");
        foreach (int spareKilobytes in Drill.IsLong ? Enumerable.Range(0, 40).Select(static i => i * 64) : [0, 300, 1500])
        {
            Resize(space, store, spareKilobytes);
            ProgramRun run = space.Tdfs(store, "reclaim");
            if (run.Code != 0)
            {
                run.AssertSays(ExitCode.DiskFull, NoSpace);
            }
        }

        Grow(space, store);
        space.Tdfs(store, "reclaim").AssertDone("reclaim");
        await drill.VerifyAsync(space.Seen(store), ["two"]);
    }

    [Fact]
    public async Task A_repair_on_a_full_disk_loses_nothing_and_ends_once_there_is_space()
    {
        using Drill drill = new();
        using MountSpace space = MountSpace.Open(drill);
        string store = Mount(drill, space, holders: 2);
        space.Import(store, "one").AssertDone("import");
        foreach (string fragment in Directory.GetFiles(space.Seen(store + "/holder0/fragments"), "*", SearchOption.AllDirectories))
        {
            File.Delete(fragment);
        }

        foreach (int spareKilobytes in (int[])[0, 700])
        {
            Resize(space, store, spareKilobytes);
            space.Tdfs(store, "repair").AssertSays(ExitCode.DiskFull, NoSpace);
        }

        Grow(space, store);
        space.Tdfs(store, "repair").AssertDone("repair");
        space.Tdfs(store, "check", "--read-all").AssertDone("check");
        await drill.VerifyAsync(space.Seen(store), ["one"]);
    }

    [Fact]
    public void A_restore_onto_a_full_disk_says_so_and_goes_on_once_there_is_space()
    {
        using Drill drill = new();
        using MountSpace space = MountSpace.Open(drill);
        string store = Mount(drill, space);
        space.Import(store, "one").AssertDone("import");
        string target = Path.Join(Path.GetDirectoryName(store), "back");
        Resize(space, store, 700);
        space.Tdfs(store, "restore", "one", target).AssertSays(ExitCode.DiskFull, "no space left on the device; what was acknowledged or restored stays, make space and run it again");
        Grow(space, store);
        space.Tdfs(store, "restore", "one", target).AssertDone("restore");
        space.Run("diff", "-r", "--no-dereference", drill.TreeOf("one"), target).AssertDone("diff");
    }

    /// <summary>/dev/full takes nothing: what was to be read by somebody is not whole, and that has the full disk's code.</summary>
    [Theory]
    [InlineData("--help")]
    [InlineData("import", "--help")]
    [InlineData("completion", "bash")]
    [InlineData("agent", "status", "--json")]
    public void Output_that_finds_no_space_is_one_line(params string[] words)
    {
        using Drill drill = new();
        ProgramRun run = drill.Run("sh", ["-c", "\"$0\" \"$@\" > /dev/full", Drill.Program, .. words]);
        run.AssertSays(ExitCode.DiskFull);
        Assert.Equal("tdfs: found no space left where the output goes, expected room for it; make space and run it again\n", run.Talk);
    }

    [Fact]
    public void Talk_that_finds_no_space_changes_nothing()
    {
        using Drill drill = new();
        Assert.Equal(2, drill.Run("sh", ["-c", "\"$0\" imprt 2> /dev/full", Drill.Program]).Code);
    }

    [Fact]
    public void Words_that_nobody_saw_are_told_of()
    {
        using Drill drill = new();
        string store = Path.Join(drill.Folder, "store");
        Drill.WriteConfig(store, 1);
        ProgramRun run = drill.Run("sh", ["-c", "\"$0\" \"$@\" > /dev/full", Drill.Program, .. Drill.Words(store, "init", "--passphrase-fd", "0")]);
        run.AssertSays(ExitCode.DiskFull, $"the store was made, but nobody saw its words and nothing shows them again: first remove {store}");
    }

    private static string Mount(Drill drill, MountSpace space, int holders = 1)
    {
        string mount = Path.Join(drill.Folder, "mount");
        Directory.CreateDirectory(mount);
        ProgramRun mounted = space.Run("mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", mount);
        Assert.SkipWhen(mounted.Code != 0, "tmpfs cannot be mounted here: " + mounted.LastLine);
        string store = Path.Join(mount, "store");
        Drill.WriteConfig(store, holders);
        File.Copy(store + ".toml", space.Seen(store + ".toml"));
        space.Tdfs(store, "init", "--passphrase-fd", "0").AssertDone("init");
        return store;
    }

    /// <summary>Leaves so much free and no more.</summary>
    private static void Resize(MountSpace space, string store, int spareKilobytes)
    {
        string mount = Path.GetDirectoryName(store)!;
        int used = int.Parse(space.Run("df", "-k", "--output=used", mount).AssertDone("df").Output.Split('\n')[1], CultureInfo.InvariantCulture);
        space.Run("mount", "-o", string.Create(CultureInfo.InvariantCulture, $"remount,size={used + spareKilobytes}k"), mount).AssertDone("remount");
    }

    private static void Grow(MountSpace space, string store) => space.Run("mount", "-o", "remount,size=200m", Path.GetDirectoryName(store)!).AssertDone("remount");
}
