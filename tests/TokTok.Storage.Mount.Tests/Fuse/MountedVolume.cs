using System.Diagnostics;
using TokTok.Storage.Files;
using TokTok.Storage.Mount.Fuse;
using TokTok.Storage.Testing;

namespace TokTok.Storage.Mount.Tests.Fuse;

/// <summary>A volume in memory, mounted by this process. Only children of it look into the mount: a server must not wait for itself.</summary>
internal sealed class MountedVolume : IAsyncDisposable
{
    private static readonly TimeSpan s_scriptBound = TimeSpan.FromMinutes(Environment.GetEnvironmentVariable("TDFS_LONG") == "1" ? 15 : 3);
    private readonly MemoryVolumeStore _store = new();
    private Volume _volume;
    private ActiveTree? _tree;

    private MountedVolume()
    {
        Folder = Directory.CreateTempSubdirectory("tdfs-mount-").FullName;
        Point = Path.Join(Folder, "point");
        Directory.CreateDirectory(Point);
        _volume = Volume.Create(_store, "v", _store.Realm, new SeededRandom(1));
    }

    internal string Folder { get; }

    internal string Point { get; }

    internal FuseMount? Mount { get; private set; }

    internal ActiveTree Tree => _tree!;

    internal List<string> Troubles { get; } = [];

    internal FuseOptions Options { get; private init; } = new();

    /// <summary>Mounts one, or skips the test and says why.</summary>
    internal static async Task<MountedVolume> OpenAsync(TimeSpan? grace = null, bool writebackCache = false)
    {
        string? missing = FuseMount.WhyNot();
        Assert.SkipWhen(missing is not null, missing ?? "");
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "mounting without fusermount3 needs root");
        var made = new MountedVolume { Options = new FuseOptions { AllowOther = true, WritebackCache = writebackCache, UnmountGrace = grace ?? TimeSpan.FromSeconds(10) } };
        try
        {
            await made.StartAsync();
        }
        catch (MountException refused)
        {
            await made.DisposeAsync();
            Assert.Skip(refused.Message);
        }

        return made;
    }

    internal async Task StartAsync()
    {
        _tree = ActiveTree.Open(_store, _volume, TimeProvider.System, new ActiveTreeOptions { CommitInterval = TimeSpan.Zero });
        Mount = await FuseMount.StartAsync(_tree, Point, Options with { Trouble = said => { lock (Troubles) { Troubles.Add(said); } } }, TimeProvider.System);
    }

    internal async Task<bool> StopAsync()
    {
        bool isClean = Mount is null || await Mount.UnmountAsync();
        Mount = null;
        if (_tree is not null)
        {
            await _tree.DisposeAsync();
            _tree = null;
        }

        return isClean;
    }

    /// <summary>Unmounts, commits, and mounts what was committed.</summary>
    internal async Task RemountAsync()
    {
        Assert.True(await StopAsync(), "unmounting found files open");
        _volume.Dispose();
        _volume = (await Volume.TryOpenAsync(_store, "v", CancellationToken.None))!;
        await StartAsync();
    }

    /// <summary>Runs a script in the mount; it fails the test unless it ends with 0.</summary>
    internal async Task<string> ShellAsync(string script)
    {
        using Process shell = StartShell(script);
        using var bound = new CancellationTokenSource(s_scriptBound);
        Task<string> said = shell.StandardError.ReadToEndAsync(bound.Token);
        string text = "";
        try
        {
            text = await shell.StandardOutput.ReadToEndAsync(bound.Token);
            await shell.WaitForExitAsync(bound.Token);
        }
        catch (OperationCanceledException)
        {
            // Whoever waits for the mount is not killed by a signal alone: the connection is cut as well, on disposal.
            shell.Kill(entireProcessTree: true);
            Assert.Fail($"not done within {s_scriptBound}: {script}{string.Join('\n', Troubles)}");
        }

        Assert.True(shell.ExitCode == 0, $"exit code {shell.ExitCode}: {text}{await said}{string.Join('\n', Troubles)}");
        Assert.Empty(Troubles);
        return text;
    }

    internal Process StartShell(string script)
    {
        var start = new ProcessStartInfo("bash", ["-euo", "pipefail", "-c", "cd \"$POINT\"\n" + script]) { RedirectStandardOutput = true, RedirectStandardError = true, WorkingDirectory = Folder };
        start.Environment["POINT"] = Point;
        start.Environment["FOLDER"] = Folder;
        start.Environment["HOME"] = Folder;
        return Process.Start(start)!;
    }

    public async ValueTask DisposeAsync()
    {
        _ = await StopAsync();
        _volume.Dispose();
        SampleTree.Delete(Folder);
    }
}
