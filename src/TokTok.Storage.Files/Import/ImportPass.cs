namespace TokTok.Storage.Files;

/// <summary>How far a walk has come: the names on the way to where it is.</summary>
/// <param name="IsInside">The last name is a directory that was entered and not left, so what lies in it is still to come.</param>
internal sealed record WalkPlace(IReadOnlyList<byte[]> Names, bool IsInside)
{
    /// <summary>Where a walk ends that nothing stops: nothing is behind it.</summary>
    internal static WalkPlace Everything { get; } = new([], false);

    internal static WalkPlace Of(ImportSlot slot)
    {
        var names = new List<byte[]> { slot.Name };
        for (WalkFrame? at = slot.Frame; at?.Parent is not null; at = at.Parent)
        {
            names.Add(at.Name);
        }

        names.Reverse();
        return new WalkPlace(names, false);
    }

    /// <summary>Whether the walk comes to the other place later than to this one.</summary>
    internal bool IsBefore(WalkPlace other)
    {
        if (ReferenceEquals(this, Everything) || ReferenceEquals(other, Everything))
        {
            return !ReferenceEquals(this, Everything);
        }

        for (int i = 0; i < Math.Min(other.Names.Count, Names.Count); i++)
        {
            int order = other.Names[i].AsSpan().SequenceCompareTo(Names[i]);
            if (order != 0)
            {
                return order > 0;
            }
        }

        return other.Names.Count > Names.Count && IsInside;
    }
}

/// <summary>One walk through the sources. A long import is made of several: each ends with a commit, so that what a crash takes is what the last one read.</summary>
/// <remarks>
/// A pass pauses the walk when it has read enough, or for long enough, behind the place where the pass before it ended; so every pass comes further than the
/// one before, whatever changes in the part that was walked already, and that part costs a look at each name.
/// Locks: _gate guards what was read.
/// </remarks>
internal sealed class ImportPass(ImportOptions options, ImportPass? before, TimeProvider clock, CancellationTokenSource pause)
{
    private readonly Lock _gate = new();
    private long _readBytes;
    private long? _began;

    /// <summary>Ends the walk; what waits for a worker is left for the next pass, what a worker has begun it finishes.</summary>
    internal CancellationToken Pause => pause.Token;

    internal ImportPass? Before => before;

    /// <summary>Where the walk was stopped. Behind <see cref="Done"/> are names that still waited for a worker.</summary>
    internal WalkPlace? Walked { get; set; }

    /// <summary>Up to here everything is in the snapshot.</summary>
    internal WalkPlace? Done { get; set; }

    /// <summary>What the pass committed.</summary>
    internal SnapshotRecord? Snapshot { get; set; }

    internal ImportProgress? Progress { get; set; }

    /// <summary>A worker has read the slot's file.</summary>
    internal void HasRead(ImportSlot slot)
    {
        // Without a stat cache another pass would read everything again.
        if (options.Cache is null || slot.Entry is null || (before?.Done is { } done && !done.IsBefore(WalkPlace.Of(slot))))
        {
            return;
        }

        lock (_gate)
        {
            _began ??= clock.GetTimestamp();
            _readBytes += slot.Stat.SizeBytes;
            if (_readBytes < options.CommitBytes && clock.GetElapsedTime(_began.Value) < options.CommitEvery)
            {
                return;
            }
        }

        pause.Cancel();
    }
}
