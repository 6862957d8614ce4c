using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Index;

/// <content>Recent entries become runs, and runs become fewer.</content>
public sealed partial class RunIndex
{
    private const int MergePages = 8;

    /// <summary>Writes a run when recent entries are as many as memory allows. Adders that come meanwhile fill the next lot, and wait here when it is full too.</summary>
    private void WriteRecent()
    {
        lock (_writeGate)
        {
            lock (_recentGate)
            {
                if (!_recent.IsFull || _isDisposed)
                {
                    return;
                }
            }

            if (_failure is not null)
            {
                return;
            }

            try
            {
                FlushLocked(_coveredSequence);
            }
            catch (DiskException failure)
            {
                _failure = failure.Message;
            }
        }
    }

    // A crash between any two steps leaves the former cover with its runs, or the new one with its own.
    private void FlushLocked(ulong coveredSequence)
    {
        IndexRun[] runs = _runs!;
        RecentEntries? frozen = Freeze();                                           // 1. adds go on in a fresh table, finds ask both
        int merged = frozen is null || _damage is not null ? 0 : MergeCount(runs, frozen.Count);
        List<IndexRun> kept = [.. runs[..^merged]];
        IndexRun? written = null;
        try
        {
            if (frozen is not null)
            {
                try
                {
                    written = Write(frozen, runs[^merged..], kept);                 // 2. the run, synced
                }
                catch (DamagedFormatException damage) when (merged > 0)
                {
                    MeetDamage(damage.Message);
                    (merged, kept) = (0, [.. runs]);
                    written = Write(frozen, [], kept);
                }

                kept.Add(written);
            }

            if (_damage is null)
            {
                WriteCover(kept, coveredSequence);                                  // 3. the cover: the new run counts, those merged do not
                if (_damage is not null)
                {
                    DropCover(); // met in between
                }
            }
        }
        catch
        {
            written?.Dispose();
            throw;
        }

        Exchange(kept, frozen, coveredSequence);                                    // 4. finds go to the new run
        foreach (IndexRun old in runs[^merged..])
        {
            old.Dispose();
            TryDelete(old.Name);                                                    // 5. a crash before leaves a file that no cover names
        }
    }

    private RecentEntries? Freeze()
    {
        lock (_recentGate)
        {
            if (_recent.Count == 0)
            {
                return null;
            }

            (_frozen, _recent, _spare) = (_recent, _spare ?? new RecentEntries(_memory.RecentSlots), null);
            return _frozen;
        }
    }

    /// <summary>How many of the newest runs are merged with entries that become one.</summary>
    /// <remarks>Tiers never rise from older to newer: smaller runs than what is written go into it, and a tier that would be full becomes one run of the next.</remarks>
    private static int MergeCount(IndexRun[] runs, long entries)
    {
        int take = 0;
        while (true)
        {
            while (take < runs.Length && TierOf(runs[^(take + 1)].Entries) < TierOf(entries))
            {
                entries += runs[^++take].Entries;
            }

            int same = 0;
            long sameEntries = 0;
            while (take + same < runs.Length && TierOf(runs[^(take + same + 1)].Entries) == TierOf(entries))
            {
                sameEntries += runs[^(take + ++same)].Entries;
            }

            if (same + 1 < RunsPerTier || entries + sameEntries > RunHeader.MaxEntries)
            {
                return take;
            }

            take += same;
            entries += sameEntries;
        }
    }

    private static int TierOf(long entries)
    {
        int tier = 0;
        for (long limit = LowestTierEntries; entries >= limit; limit *= RunsPerTier)
        {
            tier++;
        }

        return tier;
    }

    private IndexRun Write(RecentEntries frozen, IndexRun[] merged, List<IndexRun> kept)
    {
        ulong number = _nextRun++;
        string path = PathOf(IndexRun.NameOf(number));
        List<MergeSource> sources = [.. merged.Select(static run => (MergeSource)new RunSource(run)), new RecentSource(frozen)];
        long entries;
        try
        {
            using var writer = new IndexRunWriter(_disk, path, number, merged.Sum(static run => run.Entries) + frozen.Count);
            Merge(sources, writer);
            entries = writer.Finish();
        }
        catch
        {
            TryDelete(path);
            throw;
        }

        return OpenRun(_disk, _folder, number, entries, kept.Sum(static run => run.Entries) + entries, _memory);
    }

    /// <summary>All entries by ascending score; of several of one score the newest.</summary>
    private static void Merge(List<MergeSource> sources, IndexRunWriter writer)
    {
        var queue = new PriorityQueue<MergeSource, (Score Score, int Age)>(sources.Count, s_order);
        for (int i = 0; i < sources.Count; i++)
        {
            sources[i].Age = sources.Count - i;
            if (sources[i].MoveNext())
            {
                queue.Enqueue(sources[i], (sources[i].Current.Score, sources[i].Age));
            }
        }

        Score? last = null;
        while (queue.TryPeek(out MergeSource? source, out _))
        {
            if (source.Current.Score != last)
            {
                writer.Append(source.Current);
                last = source.Current.Score;
            }

            if (source.MoveNext())
            {
                queue.DequeueEnqueue(source, (source.Current.Score, source.Age));
            }
            else
            {
                queue.Dequeue();
            }
        }
    }

    private static readonly Comparer<(Score Score, int Age)> s_order = Comparer<(Score Score, int Age)>.Create(static (a, b) =>
    {
        int order = a.Score.Bytes.First.CompareTo(b.Score.Bytes.First);
        order = order != 0 ? order : a.Score.CompareTo(b.Score);
        return order != 0 ? order : a.Age.CompareTo(b.Age);
    });

    private void WriteCover(List<IndexRun> runs, ulong coveredSequence)
    {
        long count;
        lock (_recentGate)
        {
            count = _count - _recent.Count; // as far as known: a replaced location may be among the recent
        }

        var cover = new IndexCover { Sequence = coveredSequence, Count = Math.Max(0, count), NextRun = _nextRun, Runs = runs.ConvertAll(static run => (run.Number, run.Entries)) };
        string path = PathOf(IndexCover.NewFileName);
        if (_disk.FileExists(path))
        {
            _disk.Delete(path);
        }

        using (IDiskFile file = _disk.Open(path, DiskOpen.CreateNew))
        {
            file.Write(0, cover.Encode());
            file.Sync();
        }

        _disk.SyncDirectory(_folder);                                               // the run's name before the cover that needs it
        _disk.Rename(path, PathOf(IndexCover.FileName));
        _disk.SyncDirectory(_folder);
    }

    private void Exchange(List<IndexRun> runs, RecentEntries? written, ulong coveredSequence)
    {
        EnterExclusive();
        try
        {
            _runs = [.. runs];
            _coveredSequence = coveredSequence;
            long total = runs.Sum(static run => run.Entries);
            foreach (IndexRun run in runs)
            {
                long share = Math.Max(Share(_memory.FilterBytes, run.Entries, total), RunFilter.BlockBytes);
                while (run.FilterBytes > share)
                {
                    run.FoldFilter();
                }
            }

            lock (_recentGate)
            {
                _frozen = null;
            }
        }
        finally
        {
            _state.ExitWriteLock();
        }

        written?.Clear();
        _spare = written;
    }

    private void TryDelete(string path)
    {
        try
        {
            _disk.Delete(path);
        }
        catch (DiskException)
        {
            // The next opening does it.
        }
    }

    /// <summary>Entries by ascending score.</summary>
    private abstract class MergeSource
    {
        /// <summary>Lower is newer.</summary>
        internal int Age { get; set; }

        internal IndexEntry Current { get; private protected set; }

        internal abstract bool MoveNext();
    }

    private sealed class RecentSource(RecentEntries entries) : MergeSource
    {
        private readonly int[] _slots = entries.Sorted();
        private int _next;

        internal override bool MoveNext()
        {
            if (_next == _slots.Length)
            {
                return false;
            }

            Current = entries[_slots[_next++]];
            return true;
        }
    }

    private sealed class RunSource(IndexRun run) : MergeSource
    {
        private readonly byte[] _pages = new byte[MergePages * IndexRun.PageBytes];
        private long _nextPage;
        private int _read;
        private int _page;
        private int _entry;

        internal override bool MoveNext()
        {
            while (_page == _read || _entry == IndexRun.CountIn(_pages.AsSpan(_page * IndexRun.PageBytes)))
            {
                _entry = 0;
                if (_page == _read || ++_page == _read)
                {
                    if (_nextPage == run.Pages)
                    {
                        return false;
                    }

                    _read = run.ReadPages(_nextPage, _pages);
                    _nextPage += _read;
                    _page = 0;
                }
            }

            Current = IndexEntry.Read(IndexRun.EntryIn(_pages.AsSpan(_page * IndexRun.PageBytes), _entry++));
            return true;
        }
    }
}
