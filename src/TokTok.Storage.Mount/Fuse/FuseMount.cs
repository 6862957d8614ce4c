using TokTok.Storage.Files;

namespace TokTok.Storage.Mount.Fuse;

/// <summary>A volume seen as a folder of this machine: mounted from when <see cref="StartAsync"/> returned until <see cref="UnmountAsync"/> did, or somebody else unmounted it.</summary>
/// <remarks>
/// Several threads, each with a queue of the device of its own (FUSE_DEV_IOC_CLONE), work on the volume at once.
/// This process must never touch the folder while it is mounted: nor must anything that the volume is kept on lie in it. <see cref="IsAtOrBelow"/> lets the caller see to that.
/// Unmounting: first as umount does, which writes what mapped files still have; if somebody uses the mount, it is detached, what is open is served for the grace, and then the connection is
/// cut: whoever still waits gets an error, and nobody waits for ever. Whatever happens, once UnmountAsync returned the volume is used no more.
/// </remarks>
public sealed class FuseMount
{
    private const nuint CloneDevice = 0x8004_E500;
    private const int MaxThreads = 64;
    private static int s_frontEnds;

    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<string?> _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<FuseWorker> _workers = [];
    private readonly int _frontEnd = Interlocked.Increment(ref s_frontEnds); // 0 is nobody's
    private readonly FuseTurns _turns = new();
    private FuseNotices? _notices;
    private readonly FuseOptions _options;
    private readonly TimeProvider _clock;
    private string? _device;
    private int _helper = -1;
    private int _running;

    private FuseMount(string path, FuseOptions options, TimeProvider clock)
    {
        Path = path;
        _options = options;
        _clock = clock;
    }

    /// <summary>The folder, without symlinks.</summary>
    public string Path { get; }

    /// <summary>Done when the mount is gone, whoever took it away.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Whether a folder of this machine is another one or lies in it, symlinks resolved as far as it exists.</summary>
    public static bool IsAtOrBelow(string path, string folder)
    {
        string above = Resolve(folder);
        string below = Resolve(path);
        return above == below || below.StartsWith(above.EndsWith('/') ? above : above + "/", StringComparison.Ordinal);
    }

    /// <summary>Why nothing can be mounted here; null: it can, by root or with fusermount3.</summary>
    public static string? WhyNot()
    {
        try
        {
            _ = FuseLibc.close(MountPoint.OpenDevice());
            return null;
        }
        catch (MountException missing)
        {
            return missing.Message;
        }
    }

    /// <summary>The folder to mount on, without symlinks; a mount there whose server has died is cleared away. To be asked before <see cref="StartAsync"/>.</summary>
    /// <exception cref="MountException">There is no such folder.</exception>
    public static string Prepare(string path) => MountPoint.Prepare(path);

    /// <summary>Mounts the volume and serves it. The volume stays the caller's.</summary>
    /// <exception cref="MountException">The kernel or fusermount3 refused.</exception>
    public static async Task<FuseMount> StartAsync(IVolumeFileSystem volume, string path, FuseOptions options, TimeProvider clock)
    {
        ArgumentNullException.ThrowIfNull(volume);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(clock);
        var mount = new FuseMount(MountPoint.Prepare(path), options, clock);
        mount.Serve(volume, MountPoint.Mount(mount.Path, options, out mount._helper));
        Task first = await Task.WhenAny(mount._begun.Task, mount.Ended).ConfigureAwait(false);
        string? refusal = first == mount._begun.Task ? await mount._begun.Task.ConfigureAwait(false) : $"{mount.Path}: the mount was gone before it began";
        if (refusal is not null)
        {
            await mount.UnmountAsync().ConfigureAwait(false);
            throw new MountException(refusal);
        }

        if (mount._device is { } device)
        {
            MountPoint.WidenReadAhead(device);
        }

        return mount;
    }

    /// <summary>Takes the mount away. Ends in bounded time whatever the users of the mount do, the volume's own answers apart.</summary>
    /// <returns>False: something was still in use and was cut off.</returns>
    public async Task<bool> UnmountAsync()
    {
        if (!Ended.IsCompleted && !await Task.Run(() => MountPoint.TryUnmount(Path, isLazy: false)).ConfigureAwait(false))
        {
            _ = await Task.Run(() => MountPoint.TryUnmount(Path, isLazy: true)).ConfigureAwait(false);
        }

        _notices?.Stop();
        bool isClean = await EndsWithinAsync(_options.UnmountGrace).ConfigureAwait(false);
        foreach (FuseWorker worker in _workers)
        {
            worker.Stop();
        }

        if (!isClean && _device is { } device && MountPoint.TryAbort(device))
        {
            _ = await EndsWithinAsync(_options.UnmountGrace).ConfigureAwait(false);
        }

        // Where the control files are not there, the connection ends with this process; until then the workers refuse what is asked.
        int helper = Interlocked.Exchange(ref _helper, -1);
        if (helper >= 0)
        {
            _ = FuseLibc.close(helper);
        }

        return isClean;
    }

    private static string Resolve(string path)
    {
        // What does not exist yet lies where the nearest folder above it does.
        string rest = "";
        for (string at = System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path)); ;)
        {
            if (MountPoint.TryResolve(at, out string resolved, out _) || System.IO.Path.GetDirectoryName(at) is not { Length: > 0 } above)
            {
                return rest.Length == 0 ? resolved : System.IO.Path.Join(resolved, rest);
            }

            rest = System.IO.Path.Join(System.IO.Path.GetFileName(at), rest);
            at = above;
        }
    }

    private async Task<bool> EndsWithinAsync(TimeSpan time)
    {
        try
        {
            await Ended.WaitAsync(time, _clock).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    private void Serve(IVolumeFileSystem volume, int fd)
    {
        _device = MountPoint.DeviceOf(Path);
        uint cacheSeconds = (uint)Math.Clamp(_options.CacheTime.TotalSeconds, 0, 24 * 3600);
        Action<string> trouble = _options.Trouble ?? (static _ => { });
        int count = Math.Clamp(_options.ThreadCount, 1, MaxThreads);
        var agreed = new FuseAgreement();
        var writers = new FuseWriters();
        int notices = FuseLibc.fcntl(fd, FuseLibc.DuplicateCloseOnExec, 0);
        _notices = notices < 0 ? null : new FuseNotices(volume, notices, _frontEnd, writers);
        for (int index = 0; index < count; index++)
        {
            int queue = index == 0 ? fd : Clone(fd);
            if (queue < 0)
            {
                break; // those that there are serve everything, a little slower
            }

            var dispatcher = new FuseDispatcher(volume, cacheSeconds, _frontEnd, said => _begun.TrySetResult(said), agreed, _options.WritebackCache, writers);
            _workers.Add(new FuseWorker(queue, dispatcher, _turns, trouble, WorkerEnded, writers, _notices));
        }

        _notices?.Start();

        _running = _workers.Count;
        _turns.Start();
        for (int index = 0; index < _workers.Count; index++)
        {
            _workers[index].Start(index);
        }
    }

    private static unsafe int Clone(int fd)
    {
        int queue = MountPoint.OpenDeviceOrNone();
        uint original = (uint)fd;
        if (queue >= 0 && FuseLibc.ioctl(queue, CloneDevice, &original) != 0)
        {
            _ = FuseLibc.close(queue);
            return -1;
        }

        return queue;
    }

    private void WorkerEnded()
    {
        if (Interlocked.Decrement(ref _running) == 0)
        {
            _turns.End();
            _ended.TrySetResult();
        }
    }
}
