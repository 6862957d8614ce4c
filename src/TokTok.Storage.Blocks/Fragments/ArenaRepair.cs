using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Erasure;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Blocks.Fragments;

/// <summary>Verifies one arena's fragments by their names, and rebuilds what is damaged from what is good: by groups, without any key.</summary>
/// <remarks>
/// Format: docs/format.md 2.6 and 7. Every byte that is returned or written was checked against the name of its fragment, by way of its
/// group hashes, or, where those are lost, as a whole. Any k good copies of a group rebuild it, a different k for each group if need be.
/// Memory: one slice for each fragment that is missing or whose group hashes are lost, 16 KiB for each damaged group, else a few groups.
/// Not safe from many threads; make one for each use.
/// </remarks>
internal sealed class ArenaRepair
{
    private readonly ArenaId _id;
    private readonly int _data;
    private readonly int _parity;
    private readonly int _sliceBytes;
    private readonly int _groupCount;
    private readonly IReadOnlyList<FragmentSource> _places;
    private readonly Source?[] _sources;

    internal ArenaRepair(FragmentSet set)
    {
        ArgumentNullException.ThrowIfNull(set);
        ArgumentOutOfRangeException.ThrowIfNotEqual(set.Fragments.Count, set.Layout.FragmentCount, nameof(set));
        _id = set.Id;
        _data = set.Layout.DataFragments;
        _parity = set.Layout.ParityFragments;
        _sliceBytes = set.Layout.SliceBytes;
        _groupCount = FragmentFile.GroupsOf(_sliceBytes);
        _places = set.Fragments;
        _sources = new Source?[_places.Count];
    }

    /// <summary>Reads every byte and says what is good.</summary>
    internal async ValueTask<IReadOnlyList<FragmentReport>> VerifyAsync(CancellationToken cancel)
    {
        var reports = new FragmentReport[_places.Count];
        byte[] buffer = new byte[FragmentFile.GroupBytes];
        for (int index = 0; index < reports.Length; index++)
        {
            Source source = _sources[index] = await OpenAsync(index, cancel).ConfigureAwait(false);
            var damaged = new List<int>();
            if (source.Health is FragmentHealth.Good or FragmentHealth.Damaged)
            {
                for (int group = 0; group < _groupCount; group++)
                {
                    if (!await TryReadGroupAsync(index, group, buffer, cancel).ConfigureAwait(false))
                    {
                        damaged.Add(group);
                    }
                }
            }

            FragmentHealth health = source.Health == FragmentHealth.Good && damaged.Count > 0 ? FragmentHealth.Damaged : source.Health;
            reports[index] = new FragmentReport(index, health, damaged, source.IsRecordDamaged, _sources[index]!.Detail);
        }

        return reports;
    }

    /// <summary>Rebuilds what is damaged or missing as far as enough is good, writes it back to its holder, and verifies again.</summary>
    /// <exception cref="DamagedBlockException">What was rebuilt does not match its name: the names do not belong together.</exception>
    internal async ValueTask<RepairReport> RepairAsync(CancellationToken cancel)
    {
        IReadOnlyList<FragmentReport> before = await VerifyAsync(cancel).ConfigureAwait(false);
        var wanted = new SortedDictionary<int, Rebuilt>();
        foreach (FragmentReport report in before)
        {
            if (report.Health == FragmentHealth.Damaged)
            {
                wanted[report.Index] = new Rebuilt(report.DamagedGroups, _sliceBytes);
            }
            else if (report.Health == FragmentHealth.Missing && _places[report.Index].Holder is not null)
            {
                wanted[report.Index] = new Rebuilt([.. Enumerable.Range(0, _groupCount)], _sliceBytes);
            }
        }

        for (int group = 0; group < _groupCount; group++)
        {
            int[] indexes = [.. wanted.Where(rebuilt => rebuilt.Value.Wants(group)).Select(static rebuilt => rebuilt.Key)];
            if (indexes.Length == 0)
            {
                continue;
            }

            int length = GroupLength(group);
            if (await TryRebuildAsync(group, indexes, cancel).ConfigureAwait(false) is not byte[] bytes)
            {
                foreach (int index in indexes)
                {
                    wanted[index].Lost.Add(group);
                }

                continue;
            }

            for (int i = 0; i < indexes.Length; i++)
            {
                ReadOnlyMemory<byte> mended = bytes.AsMemory(i * length, length);
                if (_sources[indexes[i]]!.Hashes is not null && !Matches(indexes[i], group, mended.Span))
                {
                    throw Disagreement(indexes[i], group);
                }

                wanted[indexes[i]].Take(group, mended.Span);
            }
        }

        int written = await WriteBackAsync(before, wanted, cancel).ConfigureAwait(false);

        // What stays damaged is told with what stood in the way of mending it, though that may have passed since.
        string reasons = string.Join("; ", Reasons());
        IReadOnlyList<FragmentReport> after = await VerifyAsync(cancel).ConfigureAwait(false);
        return new RepairReport(before, [.. after.Select(report => report.Health == FragmentHealth.Good ? report : report with { Detail = report.Detail ?? before[report.Index].Detail ?? (reasons.Length > 0 ? reasons : null) })], written);
    }

    /// <summary>Reads verified bytes of a fragment, rebuilt from the others where it is damaged or missing. Writes nothing back.</summary>
    /// <exception cref="DamagedBlockException">Fewer than k copies of a group are good.</exception>
    internal async ValueTask ReadWindowAsync(int fragmentIndex, int offset, Memory<byte> target, CancellationToken cancel)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(target.Length, _sliceBytes - offset, nameof(target));
        byte[] buffer = new byte[FragmentFile.GroupBytes];
        for (int done = 0; done < target.Length;)
        {
            int group = (offset + done) / FragmentFile.GroupBytes;
            int within = offset + done - (group * FragmentFile.GroupBytes);
            int count = Math.Min(GroupLength(group) - within, target.Length - done);
            _sources[fragmentIndex] ??= await OpenAsync(fragmentIndex, cancel).ConfigureAwait(false);
            if (!await TryReadGroupAsync(fragmentIndex, group, buffer, cancel).ConfigureAwait(false))
            {
                await RebuildGroupAsync(fragmentIndex, group, buffer, isWhole: target.Length == _sliceBytes, cancel).ConfigureAwait(false);
            }

            buffer.AsMemory(within, count).CopyTo(target[done..]);
            done += count;
        }
    }

    /// <inheritdoc cref="FragmentRepair.ProbeAsync"/>
    internal async ValueTask<IReadOnlySet<int>> ProbeAsync(IRandomSource random, CancellationToken cancel)
    {
        var shown = new HashSet<int>();
        byte[] buffer = new byte[FragmentFile.GroupBytes];
        byte[] noise = new byte[sizeof(uint)];
        for (int index = 0; index < _places.Count; index++)
        {
            random.Fill(noise);
            int group = (int)(BitConverter.ToUInt32(noise) % (uint)_groupCount);
            if (_places[index].Name != default && await TryReadGroupAsync(index, group, buffer, cancel).ConfigureAwait(false))
            {
                shown.Add(index);
            }
        }

        return shown;
    }

    /// <summary>Whether each group has k good copies.</summary>
    internal async ValueTask<bool> IsReadableAsync(CancellationToken cancel)
    {
        int[] good = new int[_groupCount];
        byte[] buffer = new byte[FragmentFile.GroupBytes];
        for (int index = 0; index < _places.Count; index++)
        {
            for (int group = 0; group < _groupCount; group++)
            {
                good[group] += await TryReadGroupAsync(index, group, buffer, cancel).ConfigureAwait(false) ? 1 : 0;
            }
        }

        return Array.TrueForAll(good, count => count >= _data);
    }

    /// <param name="isWhole">All of the fragment is read, so that it can be held to its name though nobody has its group hashes. Parts are what k fragments make of it that match theirs.</param>
    private async ValueTask RebuildGroupAsync(int index, int group, Memory<byte> target, bool isWhole, CancellationToken cancel)
    {
        if (!isWhole || _sources[index]!.Hashes is not null)
        {
            byte[] bytes = await TryRebuildAsync(group, [index], cancel).ConfigureAwait(false) ?? throw TooFew(index, group);
            if (_sources[index]!.Hashes is not null && !Matches(index, group, bytes))
            {
                throw Disagreement(index, group);
            }

            bytes.CopyTo(target);
            return;
        }

        var whole = new Rebuilt([.. Enumerable.Range(0, _groupCount)], _sliceBytes);
        for (int other = 0; other < _groupCount; other++)
        {
            whole.Take(other, await TryRebuildAsync(other, [index], cancel).ConfigureAwait(false) ?? throw TooFew(index, other));
        }

        byte[] hashes = HashesOf(index, whole.Bytes, isRebuilt: true) ?? throw Disagreement(index, group);
        _sources[index] = _sources[index]! with { Hashes = hashes, Bytes = whole.Bytes };
        whole.Bytes.AsSpan(group * FragmentFile.GroupBytes, GroupLength(group)).CopyTo(target.Span);
    }

    private DamagedBlockException TooFew(int index, int group) => new(string.Join("; ", Reasons().Prepend(
        $"arena {_id}: group {group} of fragment {index} is damaged, and fewer than {_data} of {_places.Count} fragments have it good")));

    /// <summary>What disks and damaged records said of the sources so far.</summary>
    private IEnumerable<string> Reasons() => _sources.Select(static source => source?.Detail).OfType<string>().Distinct(StringComparer.Ordinal);

    private DamagedBlockException Disagreement(int index, int group) =>
        new($"arena {_id}: group {group} of fragment {index} as rebuilt from {_data} good fragments does not match its name {_places[index].Name}");

    private int GroupLength(int group) => Math.Min(FragmentFile.GroupBytes, _sliceBytes - (group * FragmentFile.GroupBytes));

    private bool Matches(int index, int group, ReadOnlySpan<byte> bytes)
    {
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3Tree.GroupHash(bytes, group, _groupCount == 1, hash);
        return _sources[index]!.Hashes.AsSpan().Slice(group * Blake3.HashSize, Blake3.HashSize).SequenceEqual(hash);
    }

    /// <summary>The group hashes of a whole fragment, if its bytes are what the name says.</summary>
    /// <param name="isRebuilt">From k fragments that are what their names say. Then there may be no name: the holder of this one was away when the arena was adopted.</param>
    private byte[]? HashesOf(int index, ReadOnlySpan<byte> fragment, bool isRebuilt = false)
    {
        byte[] hashes = new byte[_groupCount * Blake3.HashSize];
        Span<byte> root = stackalloc byte[Blake3.HashSize];
        Blake3Tree.HashWithGroups(fragment, hashes, root);
        return FragmentName.Read(root) == _places[index].Name || (isRebuilt && _places[index].Name == default) ? hashes : null;
    }

    /// <summary>Finds out how a fragment can be read and by what it is checked.</summary>
    private async ValueTask<Source> OpenAsync(int index, CancellationToken cancel)
    {
        FragmentSource place = _places[index];
        if (place.Holder is not IFragmentHolder holder)
        {
            return new Source(FragmentHealth.Unreachable, null, null, false, "no holder");
        }

        byte[]? whole = null;
        try
        {
            HeldArena? held = await holder.InspectAsync(_id, cancel).ConfigureAwait(false);
            if (held is null || held.DataFragments != _data || held.ParityFragments != _parity || held.SliceBytes != _sliceBytes
                || !held.Fragments.Contains(new HeldFragment(index, place.Name)))
            {
                return new Source(FragmentHealth.Missing, null, null, held?.IsRecordDamaged ?? false, null);
            }

            // Every cut through the tree folds to the name: a list of another length is not that of the groups.
            if (await holder.ReadGroupHashesAsync(_id, index, place.Name, cancel).ConfigureAwait(false) is byte[] hashes && hashes.Length == _groupCount * Blake3.HashSize)
            {
                return new Source(FragmentHealth.Good, hashes, null, held.IsRecordDamaged, null);
            }

            whole = new byte[_sliceBytes];
            int read = await holder.ReadAsync(_id, index, 0, whole, cancel).ConfigureAwait(false);
            byte[]? own = read == _sliceBytes ? HashesOf(index, whole) : null;
            return new Source(own is null ? FragmentHealth.Damaged : FragmentHealth.Good, own, null, true, "its group hashes are damaged");
        }
        catch (DamagedFormatException damage)
        {
            return await SalvageAsync(index, holder, damage.Message, cancel).ConfigureAwait(false);
        }
        catch (DiskException failure) when (whole is not null && failure.Failure == DiskFailure.Failed)
        {
            return new Source(FragmentHealth.Damaged, null, null, true, failure.Message);
        }
        catch (DiskException failure)
        {
            return new Source(FragmentHealth.Unreachable, null, null, false, failure.Message);
        }
    }

    private async ValueTask<Source> SalvageAsync(int index, IFragmentHolder holder, string detail, CancellationToken cancel)
    {
        byte[] bytes = new byte[_sliceBytes];
        try
        {
            int read = await holder.SalvageAsync(_id, _sliceBytes, IndexesAt(holder), index, bytes, cancel).ConfigureAwait(false);
            if (read == _sliceBytes && HashesOf(index, bytes) is byte[] hashes)
            {
                return new Source(FragmentHealth.Good, hashes, bytes, true, detail) { MustReplace = true };
            }
        }
        catch (DiskException failure) when (failure.Failure == DiskFailure.Failed)
        {
            detail = failure.Message;
        }
        catch (DiskException failure)
        {
            return new Source(FragmentHealth.Unreachable, null, null, true, failure.Message);
        }

        return new Source(FragmentHealth.Damaged, null, null, true, detail) { MustReplace = true };
    }

    private int[] IndexesAt(IFragmentHolder holder) =>
        [.. Enumerable.Range(0, _places.Count).Where(index => _places[index].Holder is { } other && other.Id == holder.Id)];

    private async ValueTask<bool> TryReadGroupAsync(int index, int group, Memory<byte> target, CancellationToken cancel)
    {
        Source source = _sources[index] ??= await OpenAsync(index, cancel).ConfigureAwait(false);
        if (source.Hashes is null)
        {
            return false;
        }

        Memory<byte> bytes = target[..GroupLength(group)];
        int offset = group * FragmentFile.GroupBytes;
        if (source.Bytes is not null)
        {
            source.Bytes.AsMemory(offset, bytes.Length).CopyTo(bytes);
            return true;
        }

        try
        {
            return await _places[index].Holder!.ReadAsync(_id, index, offset, bytes, cancel).ConfigureAwait(false) == bytes.Length
                && Matches(index, group, bytes.Span);
        }
        catch (DiskException failure)
        {
            _sources[index] = source with { Detail = source.Detail ?? failure.Message };
            return false;
        }
        catch (DamagedFormatException)
        {
            return false;
        }
    }

    /// <summary>A group of the wanted fragments, one after another, from any k others that have it good; null where there are fewer. As many holders as are needed are asked at once.</summary>
    private async ValueTask<byte[]?> TryRebuildAsync(int group, int[] wanted, CancellationToken cancel)
    {
        if (_parity == 0)
        {
            return null;
        }

        int length = GroupLength(group);
        int[] present = new int[_data];
        byte[] bytes = new byte[_data * length];
        var others = new Queue<int>(Enumerable.Range(0, _places.Count).Where(index => Array.IndexOf(wanted, index) < 0));
        for (int[] open = [.. Enumerable.Range(0, _data)]; open.Length > 0;)
        {
            if (others.Count < open.Length)
            {
                return null;
            }

            var reads = new Task<bool>[open.Length];
            for (int i = 0; i < open.Length; i++)
            {
                present[open[i]] = others.Dequeue();
                reads[i] = TryReadGroupAsync(present[open[i]], group, bytes.AsMemory(open[i] * length, length), cancel).AsTask();
            }

            bool[] isRead = await Task.WhenAll(reads).ConfigureAwait(false);
            open = [.. open.Where((_, i) => !isRead[i])];
        }

        byte[] rebuilt = new byte[wanted.Length * length];
        new ReedSolomon(_data, _parity).Reconstruct(present, bytes, wanted, rebuilt, length);
        return rebuilt;
    }

    /// <summary>Holder by holder, those that may be written. A crash between any two writes leaves damage as it was or mended; nothing good is overwritten.</summary>
    private async ValueTask<int> WriteBackAsync(IReadOnlyList<FragmentReport> before, SortedDictionary<int, Rebuilt> wanted, CancellationToken cancel)
    {
        int written = 0;
        foreach (IGrouping<HolderId, int> at in Enumerable.Range(0, _places.Count).Where(index => _places[index].Holder is not (null or OutsideHolder)).GroupBy(index => _places[index].Holder!.Id))
        {
            IFragmentHolder holder = _places[at.First()].Holder!;
            var whole = new List<FragmentData>();
            bool mustReplace = at.Any(index => _sources[index]!.MustReplace);
            foreach (int index in at)
            {
                Source source = _sources[index]!;
                if (!wanted.TryGetValue(index, out Rebuilt? rebuilt))
                {
                    if (source is { MustReplace: true, Bytes: not null })
                    {
                        whole.Add(new FragmentData(index, source.Bytes, _places[index].Name, source.Hashes));
                    }
                }
                else if (source.Hashes is null)
                {
                    if (rebuilt.Lost.Count == 0)
                    {
                        byte[] hashes = HashesOf(index, rebuilt.Bytes) ?? throw Disagreement(index, 0);
                        whole.Add(new FragmentData(index, rebuilt.Bytes, _places[index].Name, hashes));
                        _sources[index] = source with { Hashes = hashes };
                        written += _groupCount;
                    }
                }
                else if (rebuilt.Mended is { Count: > 0 } mended)
                {
                    byte[] bytes = rebuilt.BytesOf(mended, _sliceBytes);
                    await holder.RewriteGroupsAsync(_id, index, mended, bytes, cancel).ConfigureAwait(false);    // 1. damaged groups, in place
                    written += mended.Count;
                }
            }

            if (mustReplace)
            {
                // Only with everything that can be had of the file: what is not good in it, and not rebuilt, was not to be had.
                if (whole.Count == at.Count())
                {
                    await holder.ReplaceAsync(_id, _data, _parity, _sliceBytes, whole, cancel).ConfigureAwait(false);
                }

                continue;
            }

            var gone = whole.Where(fragment => before[fragment.Index].Health == FragmentHealth.Missing).ToList();
            foreach (FragmentData fragment in whole.Where(fragment => before[fragment.Index].Health == FragmentHealth.Damaged))
            {
                // Its list of group hashes was lost and its bytes match no name: every group is written again.
                int[] all = [.. Enumerable.Range(0, _groupCount)];
                await holder.RewriteGroupsAsync(_id, fragment.Index, all, fragment.Bytes, cancel).ConfigureAwait(false);
            }

            if (at.Any(index => before[index].IsRecordDamaged))
            {
                FragmentHashes[] hashes = [.. at.Where(index => _sources[index]!.Hashes is not null).Select(index => new FragmentHashes(index, _sources[index]!.Hashes))];
                await holder.MendAsync(_id, hashes, cancel).ConfigureAwait(false);                                // 2. the records
            }

            if (gone.Count > 0)
            {
                await holder.PutAsync(_id, _data, _parity, _sliceBytes, gone, cancel).ConfigureAwait(false);      // 3. what was not there
            }
        }

        return written;
    }

    /// <summary>How a fragment is read: by its holder, or from Bytes where those are all there is and good. Hashes null: nothing of it can be trusted.</summary>
    private sealed record Source(FragmentHealth Health, byte[]? Hashes, byte[]? Bytes, bool IsRecordDamaged, string? Detail)
    {
        internal bool MustReplace { get; init; }
    }

    private sealed class Rebuilt(IReadOnlyList<int> groups, int sliceBytes)
    {
        private readonly HashSet<int> _groups = [.. groups];

        internal byte[] Bytes { get; } = new byte[sliceBytes];

        internal List<int> Lost { get; } = [];

        internal List<int> Mended { get; } = [];

        internal bool Wants(int group) => _groups.Contains(group);

        internal void Take(int group, ReadOnlySpan<byte> bytes)
        {
            bytes.CopyTo(Bytes.AsSpan(group * FragmentFile.GroupBytes));
            Mended.Add(group);
        }

        internal byte[] BytesOf(List<int> mended, int slice)
        {
            using var bytes = new MemoryStream();
            foreach (int group in mended)
            {
                int start = group * FragmentFile.GroupBytes;
                bytes.Write(Bytes, start, Math.Min(FragmentFile.GroupBytes, slice - start));
            }

            return bytes.ToArray();
        }
    }
}
