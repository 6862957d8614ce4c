using System.Collections.Concurrent;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Node.Holders;

/// <summary>Opens, or makes, the holder of a name below a node's folder: a folder holder in a process of ours, anything in a test.</summary>
public delegate IFragmentHolder OpenHolder(string path);

/// <summary>What a node keeps for others: a holder for each account in a folder of its own.</summary>
/// <remarks>
/// Format: docs/format.md 17.2. A holder is opened when its account first asks for something, and only for accounts that were let in. One node serves a folder: it holds its lock.
/// Which devices an account has revoked is read when the node begins and in memory from then on, so that asking costs no disk access.
/// Locks: _gate guards _open and changes of _revoked; opening a holder happens inside it, so that nobody opens one twice.
/// </remarks>
public sealed class HolderHouse : IAsyncDisposable
{
    private const int NameBytes = 16;

    private readonly IDisk _disk;
    private readonly string _folder;
    private readonly OpenHolder _openHolder;
    private readonly Action<string>? _trouble;
    private readonly SemaphoreSlim _gate = new(1);
    private readonly Dictionary<Bytes32, HostedHolder> _open = [];
    private readonly Dictionary<Bytes32, Lease> _leases = []; // guarded by _gate
    private readonly ConcurrentDictionary<string, RevokedDevices> _revoked = new(StringComparer.Ordinal); // by the name of its account's files; as it is in force
    private readonly Dictionary<string, RevokedDevices> _remembered = new(StringComparer.Ordinal); // guarded by _gate; as it is on disk
    private readonly HashSet<(Bytes32 Account, uint Day)> _noticed = []; // one line a day
    private readonly IDisposable _lock;
    private readonly RunningDays _days;
    private readonly TimeProvider _clock;

    private HolderHouse(IDisk disk, string folder, OpenHolder openHolder, DiskFloor floor, RunningDays days, IDisposable held, TimeProvider clock, Action<string>? trouble) =>
        (_disk, _folder, _openHolder, Floor, _days, _lock, _clock, _trouble) = (disk, folder, openHolder, floor, days, held, clock, trouble);

    internal DiskFloor Floor { get; }

    /// <exception cref="DiskException">The folder cannot be made or written, or another node serves it (AlreadyExists).</exception>
    public static HolderHouse Open(IDisk disk, string folder, OpenHolder openHolder, long floorBytes, TimeProvider clock, Action<string>? trouble)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(folder);
        disk.CreateDirectory(folder);
        IDisposable held = disk.TryLock(folder + "/lock") ?? throw new DiskException(DiskFailure.AlreadyExists, "serve", folder, "another node serves this folder; stop it, or name another [node] folder");
        try
        {
            uint last = 0;
            foreach (DiskEntry entry in disk.List(folder).Where(static entry => entry.Name.EndsWith(".released", StringComparison.Ordinal)))
            {
                last = Math.Max(last, new Releases(disk, folder, entry.Name[..^".released".Length], trouble).LastDay);
            }

            var days = new RunningDays(disk, folder, clock, last);
            days.Tick();
            var house = new HolderHouse(disk, folder, openHolder, new DiskFloor(() => disk.FreeBytes(folder), floorBytes), days, held, clock, trouble);
            foreach (string name in disk.List(folder).Where(static entry => entry.Name.EndsWith(RevokedDevices.Suffix, StringComparison.Ordinal)).Select(static entry => entry.Name[..^RevokedDevices.Suffix.Length]).ToList())
            {
                house._revoked[name] = house._remembered[name] = RevokedDevices.ReadFile(disk, folder, name, trouble);
            }

            return house;
        }
        catch
        {
            held.Dispose();
            throw;
        }
    }

    private uint Today => (uint)Math.Max(0, _clock.GetUtcNow().ToUnixTimeSeconds() / 86_400);

    /// <summary>The holder of an account that was let in and asks for something: its lease is renewed by that, and what its silence had released is brought back.</summary>
    /// <param name="renews">False: somebody else asks in its name.</param>
    internal async ValueTask<HostedHolder> OfAsync(Bytes32 account, CancellationToken cancel, bool renews = true)
    {
        HostedHolder holder = await OpenedAsync(account, cancel).ConfigureAwait(false);
        if (!renews)
        {
            return holder;
        }

        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (_leases.TryGetValue(account, out Lease? lease))
            {
                if (lease.HasExpired)
                {
                    await holder.CancelReleasesAsync(cancel).ConfigureAwait(false); // 1. a crash here leaves a lease that is renewed by the next request
                }

                lease.Heard(Today);                                                 // 2.
            }
        }
        finally
        {
            _gate.Release();
        }

        return holder;
    }

    /// <summary>Whether an account has revoked a device of its own, as far as it said so here.</summary>
    internal bool IsRevoked(Bytes32 account, uint device) => !_revoked.IsEmpty && _revoked.TryGetValue(NameOf(account), out RevokedDevices? revoked) && revoked.Has(device);

    /// <summary>Whether any of it is news.</summary>
    internal async ValueTask<bool> IsNewsAsync(Bytes32 account, IReadOnlyList<(uint Signer, uint Device)> said, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            RevokedDevices before = _remembered.GetValueOrDefault(NameOf(account), RevokedDevices.None);
            return !ReferenceEquals(before.With(said), before);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Takes up what an account's devices say of each other.</summary>
    /// <param name="inForce">Called when it is in force, before anything else is done.</param>
    internal async ValueTask RevokeAsync(Bytes32 account, IReadOnlyList<(uint Signer, uint Device)> said, Action inForce, CancellationToken cancel)
    {
        string name = NameOf(account);
        HostedHolder holder = await OfAsync(account, cancel).ConfigureAwait(false);
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            RevokedDevices before = _remembered.GetValueOrDefault(name, RevokedDevices.None);
            RevokedDevices after = before.With(said);
            if (ReferenceEquals(before, after))
            {
                return;
            }

            _revoked[name] = after;                                                 // 1. in force; a crash before 3 leaves nothing but an answer that was not given: it is said again
            inForce();
            if (after.RevokesMoreThan(before))
            {
                await holder.CancelReleasesAsync(cancel).ConfigureAwait(false);     // 2. nobody who was revoked releases anything behind this
            }

            after.WriteFile(_disk, _folder, name);                                  // 3.
            _remembered[name] = after;
        }
        finally
        {
            _gate.Release();
        }
    }

    private async ValueTask<HostedHolder> OpenedAsync(Bytes32 account, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (_open.TryGetValue(account, out HostedHolder? known))
            {
                return known;
            }

            string name = NameOf(account);
            IFragmentHolder holder = _openHolder(_folder + "/" + name);
            try
            {
                HostedHolder opened = await HostedHolder.OpenAsync(holder, new Releases(_disk, _folder, name, _trouble), Floor, () => _days.Count, cancel).ConfigureAwait(false);
                await opened.PurgeDueAsync(cancel).ConfigureAwait(false);
                _ = LeaseLocked(account, NameOf(account));
                return _open[account] = opened;
            }
            catch
            {
                (holder as IDisposable)?.Dispose();
                throw;
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    private Lease LeaseLocked(Bytes32 account, string name)
    {
        if (!_leases.TryGetValue(account, out Lease? lease))
        {
            _leases[account] = lease = new Lease(_disk, _folder, name);
        }

        return lease;
    }

    /// <summary>Counts today for accounts with a term, tells the node's owner which of them come to its end, and releases what has passed it.</summary>
    /// <param name="whoOf">What the owner calls an account.</param>
    internal async ValueTask TickLeasesAsync(IReadOnlyDictionary<Bytes32, uint> terms, Func<Bytes32, string> whoOf, CancellationToken cancel)
    {
        foreach ((Bytes32 account, uint term) in terms.Where(static each => each.Value > 0))
        {
            bool isDue;
            bool isOver;
            await _gate.WaitAsync(cancel).ConfigureAwait(false);
            try
            {
                Lease lease = LeaseLocked(account, NameOf(account));
                bool counts = lease.Tick(Today);
                isOver = counts && lease.HasExpired;
                isDue = counts && !lease.HasExpired && lease.SilentDays >= term + Lease.GraceDays;
                if (lease.LastDay == Today && lease.Notice(term, whoOf(account)) is { } notice && _noticed.Add((account, Today)))
                {
                    _trouble?.Invoke(notice);
                }
            }
            finally
            {
                _gate.Release();
            }

            if (isOver)
            {
                _ = await OpenedAsync(account, cancel).ConfigureAwait(false); // what was released long enough ago is deleted by that, though nobody asks for anything
            }

            if (isDue)
            {
                HostedHolder holder = await OpenedAsync(account, cancel).ConfigureAwait(false);
                await holder.ReleaseAllAsync(cancel).ConfigureAwait(false);         // 1. a crash here leaves releases that a request before tomorrow does not bring back by itself, and `cancel-releases` does
                await _gate.WaitAsync(cancel).ConfigureAwait(false);
                try
                {
                    _leases[account].Expire();                                      // 2.
                }
                finally
                {
                    _gate.Release();
                }
            }
        }
    }

    /// <summary>Looks at the calendar, and deletes what was released long enough ago at those that are open.</summary>
    internal async ValueTask TickAsync(CancellationToken cancel)
    {
        List<HostedHolder> open;
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (!_days.Tick())
            {
                return;
            }

            open = [.. _open.Values];
        }
        finally
        {
            _gate.Release();
        }

        foreach (HostedHolder each in open)
        {
            await each.PurgeDueAsync(cancel).ConfigureAwait(false);
        }
    }

    public ValueTask DisposeAsync()
    {
        foreach (HostedHolder each in _open.Values)
        {
            each.Dispose();
        }

        _lock.Dispose();
        _gate.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <summary>A line of ours without where it happened on this machine: that is nobody else's.</summary>
    internal string Clean(string message) => message.Replace(_folder + "/", "", StringComparison.Ordinal);

    internal static string NameOf(Bytes32 account)
    {
        Span<byte> key = stackalloc byte[Bytes32.Size];
        account.Write(key);
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(key, hash);
        return Convert.ToHexStringLower(hash[..NameBytes]);
    }
}
