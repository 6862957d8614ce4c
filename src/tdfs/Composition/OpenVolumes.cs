using System.Collections.Concurrent;
using TokTok.Storage.Files;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>The volumes that this process has open to work in: who changes one of these otherwise does it by what is open.</summary>
/// <remarks>
/// Safe from many threads. A volume is open once, however many mounts and servers use it, so that all of them see one tree; the last use commits and closes it.
/// Locks: the gate (shared), then _gate, while one is opened or closed; looking up takes none.
/// Order at the end: (1) commit, while whoever frees space still walks the tree; (2) it is open no more; (3) it is closed, with nothing left to write.
/// </remarks>
internal sealed class OpenVolumes : IDisposable
{
    private readonly ConcurrentDictionary<string, OpenVolume> _open = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _gate = new(1, 1);

    /// <summary>Whoever frees space is alone; whoever opens, closes or changes what others have not open, shares.</summary>
    internal SharedGate Gate { get; } = new();

    internal IReadOnlyCollection<OpenVolume> All => [.. _open.Values.OrderBy(static each => each.Volume.Name, StringComparer.Ordinal)];

    internal OpenVolume? Find(string name) => _open.GetValueOrDefault(name);

    /// <summary>The volume that something shows, if it shows one.</summary>
    internal OpenVolume? FindUse(string where) => _open.Values.FirstOrDefault(open => open.Has(where));

    /// <summary>Opens a volume for one more use, which is over when it is disposed of.</summary>
    /// <param name="make">Opens it where it is not open yet.</param>
    internal async ValueTask<Use> OpenAsync(string name, string where, Func<ValueTask<OpenVolume>> make, CancellationToken cancel)
    {
        using IDisposable shared = await Gate.ShareAsync(cancel).ConfigureAwait(false);
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            OpenVolume open = Find(name) ?? (_open[name] = await make().ConfigureAwait(false));
            open.Add(where);
            return new Use(this, open, where);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>One more use of what is open, so that it stays so; null: it was closed meanwhile.</summary>
    internal async ValueTask<Use?> UseAsync(OpenVolume open, string where, CancellationToken cancel)
    {
        await _gate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (Find(open.Volume.Name) != open)
            {
                return null;
            }

            open.Add(where);
            return new Use(this, open, where);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Nothing is open any more.</summary>
    public void Dispose()
    {
        _gate.Dispose();
        Gate.Dispose();
    }

    private async ValueTask LeaveAsync(OpenVolume open, string where)
    {
        using IDisposable shared = await Gate.ShareAsync(CancellationToken.None).ConfigureAwait(false);
        await _gate.WaitAsync().ConfigureAwait(false);
        try
        {
            if (open.Remove(where) > 0)
            {
                return;
            }

            try
            {
                await open.View.Present.CommitAsync(CancellationToken.None).ConfigureAwait(false); // 1.
            }
            finally
            {
                _open.TryRemove(KeyValuePair.Create(open.Volume.Name, open)); // 2.
                try
                {
                    await open.View.DisposeAsync().ConfigureAwait(false); // 3.
                }
                finally
                {
                    open.Volume.Dispose();
                }
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>One use of an open volume: a mount, or a server.</summary>
    internal sealed class Use(OpenVolumes all, OpenVolume open, string where) : IAsyncDisposable
    {
        internal Volume Volume => open.Volume;

        internal VolumeView View => open.View;

        public ValueTask DisposeAsync() => all.LeaveAsync(open, where);
    }
}

/// <summary>A volume and its active tree, and what shows it.</summary>
internal sealed class OpenVolume(Volume volume, VolumeView view)
{
    private readonly List<string> _uses = [];

    internal Volume Volume => volume;

    internal VolumeView View => view;

    internal string Where
    {
        get
        {
            lock (_uses)
            {
                return string.Join(", ", _uses);
            }
        }
    }

    internal bool Has(string where)
    {
        lock (_uses)
        {
            return _uses.Contains(where);
        }
    }

    internal void Add(string where)
    {
        lock (_uses)
        {
            _uses.Add(where);
        }
    }

    /// <returns>How many uses are left.</returns>
    internal int Remove(string where)
    {
        lock (_uses)
        {
            _uses.Remove(where);
            return _uses.Count;
        }
    }
}
