using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <content>What holders get beside fragments: copies of the catalog, the anchor, the wrapped keys.</content>
public sealed partial class BlockStore
{
    private ulong _anchorNumber;
    private readonly HashSet<HolderId> _haveKeys = [];
    private readonly HashSet<HolderId> _haveLag = []; // said once
    private Dictionary<DomainId, ReadOnlyMemory<byte>>? _wrappedDomains;

    /// <summary>Brings every reachable holder up to date. A holder that fails only lags.</summary>
    public async ValueTask PublishAsync(CancellationToken cancel)
    {
        ThrowIfNotWritable();
        await _commitGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await PublishLockedAsync(cancel).ConfigureAwait(false);
        }
        finally
        {
            _commitGate.Release();
        }
    }

    /// <summary>The same; the caller holds the commit gate, under which the catalog's copies are written. The journal's are written under the flush gate.</summary>
    private async ValueTask PublishLockedAsync(CancellationToken cancel)
    {
        List<IFragmentHolder> holders = ReachableHolders();
        foreach (IFragmentHolder holder in holders)
        {
            try
            {
                await PutEpochsAsync(holder, cancel).ConfigureAwait(false); // before what is under them
            }
            catch (DiskException failure)
            {
                Note($"keys of other devices: {failure.Message}");
            }
        }

        await _catalogLog.PublishAsync(holders, cancel).ConfigureAwait(false);
        if (_catalogLog.IsForked)
        {
            // What the other copy wrote stays where it is and is joined at the next opening.
            Note("another copy of this device's state wrote a catalog of the same name to a holder; this one goes on under a name of its own");
            _catalogLog.Part(NewIncarnation());
            await _catalogLog.PublishAsync(holders, cancel).ConfigureAwait(false);
        }

        await _flushGate.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            await _journal.PublishAsync(JournalHolders(), isSynced: true, cancel).ConfigureAwait(false); // compares what is there with ours, once a process
            NoteJournalCopies();
        }
        finally
        {
            _flushGate.Release();
        }

        await PutAnchorsAsync(holders, cancel).ConfigureAwait(false);

        foreach (StoreHolder holder in Holders)
        {
            if ((_catalogLog.Lag.GetValueOrDefault(holder.Id) ?? _journal.Lag.GetValueOrDefault(holder.Id)) is { } line && _haveLag.Add(holder.Id))
            {
                Note($"holder {holder.Place} lags behind: {line}; it gets what it lacks when it can take it");
            }
        }
    }

    /// <summary>Whether words and holders would bring everything back: reads each holder's newest anchor, its wrapped keys, and its copies of catalog and journal.
    /// One line for each that is damaged or not there at all; a change that is published mends them. What merely lags is said by <see cref="Lag"/>.</summary>
    public async ValueTask<IReadOnlyList<string>> CheckCopiesAsync(CancellationToken cancel)
    {
        HashSet<HolderId> known = [.. Catalog.Holders().Select(static holder => holder.Id)];
        List<StoreHolder> present = [.. Holders.Where(holder => holder is { Holder: not null, IsGone: false } && known.Contains(holder.Id))];
        List<IFragmentHolder> withJournal = JournalHolders();
        List<string> lines = await _catalogLog.CheckAsync(present, cancel).ConfigureAwait(false);
        lines.AddRange(await _journal.CheckAsync([.. present.Where(holder => withJournal.Contains(holder.Holder!))], cancel).ConfigureAwait(false));
        foreach (StoreHolder holder in present)
        {
            if (!_catalogLog.IsAt(holder.Id))
            {
                lines.Add($"found no catalog at {holder.Place}, expected a copy");
            }

            try
            {
                lines.AddRange((await CheckKeysAsync(holder.Holder!, cancel).ConfigureAwait(false)).Select(line => $"{line}, at {holder.Place}"));
            }
            catch (DiskException failure)
            {
                lines.Add($"{holder.Place}: {failure.Message}");
            }
        }

        return lines;
    }

    private async ValueTask<List<string>> CheckKeysAsync(IFragmentHolder holder, CancellationToken cancel)
    {
        var lines = new List<string>();
        List<ulong> numbers = await AnchorNumbersAsync(holder, cancel).ConfigureAwait(false);
        try
        {
            if (numbers.Count == 0)
            {
                lines.Add("found no anchor, expected one");
            }
            else
            {
                string name = Anchor.NameOf(_keys.Tag, numbers[^1]);
                Anchor.Read(await AccountFinder.ReadObjectAsync(holder, name, cancel).ConfigureAwait(false), _keys.AnchorKey.Span, name);
            }
        }
        catch (DamagedFormatException damage)
        {
            lines.Add(damage.Message);
        }

        foreach (KeyDomain domain in _domains.Values.Where(static domain => domain.Kind != DomainKind.Burnable))
        {
            string name = Anchor.KeysNameOf(_keys.Tag, domain.Id, domain.CurrentEpoch);
            byte[] held = await AccountFinder.ReadObjectAsync(holder, name, cancel).ConfigureAwait(false);
            try
            {
                if (held.Length == 0)
                {
                    lines.Add($"found no {name}, expected the wrapped keys of a domain");
                }
                else
                {
                    Anchor.ReadKeys(held, _keys.AnchorKey.Span, _keys.AccountPublicKey.Span, name);
                }
            }
            catch (DamagedFormatException damage)
            {
                lines.Add(damage.Message);
            }
        }

        return lines;
    }

    /// <summary>Numbers of the account's anchors at a holder, ascending, by their names. One that is beyond counting is nobody's.</summary>
    private async ValueTask<List<ulong>> AnchorNumbersAsync(IFragmentHolder holder, CancellationToken cancel)
    {
        var numbers = new List<ulong>();
        foreach (HolderObject found in await holder.ListObjectsAsync(Anchor.Prefix + _keys.Tag, cancel).ConfigureAwait(false))
        {
            string digits = found.Name[(found.Name.LastIndexOf('-') + 1)..];
            if (ulong.TryParse(digits, System.Globalization.NumberStyles.AllowHexSpecifier, System.Globalization.CultureInfo.InvariantCulture, out ulong number)
                && number <= RecordLog.MaxHeldNumber)
            {
                numbers.Add(number);
            }
        }

        numbers.Sort();
        return numbers;
    }

    /// <summary>The same anchor at every holder, under a number above all that any of them has.</summary>
    private async ValueTask PutAnchorsAsync(List<IFragmentHolder> holders, CancellationToken cancel)
    {
        AnchorsAt[] all = [.. holders.Select(static holder => new AnchorsAt(holder))];
        await SideBySide.EachAsync(all, at => at.TryAsync(async () =>
        {
            await PutKeysAsync(at.Holder, cancel).ConfigureAwait(false);
            at.Numbers = await AnchorNumbersAsync(at.Holder, cancel).ConfigureAwait(false);
        })).ConfigureAwait(false);
        AnchorsAt[] able = [.. all.Where(static at => at.Failure is null)];
        _haveKeys.UnionWith(able.Select(static at => at.Holder.Id));
        _anchorNumber = Math.Max(_anchorNumber, able.SelectMany(static at => at.Numbers).DefaultIfEmpty().Max()) + 1;
        var anchor = new Anchor
        {
            Tag = _keys.Tag,
            Number = _anchorNumber,
            AccountPublicKey = _keys.AccountPublicKey,
            Device = _device,
            TimeNs = NowNs(),
            Certificates = [.. Catalog.Certificates().Select(static certificate => (ReadOnlyMemory<byte>)certificate.Bytes.ToArray())],
            WrappedDomains = [.. WrappedDomains().Values],
            Holders = [.. Holders.Where(static item => !item.IsGone).Select(static item => new AnchorHolder(item.Id, item.Place, item.Address))],
            Heads = Catalog.Heads(),
            Logs = [.. Positions()],
        };
        byte[] bytes = anchor.Write(_keys.AnchorKey.Span, _keys.DeviceKeys, _random);
        await SideBySide.EachAsync(able, at => at.TryAsync(async () =>
        {
            await at.Holder.PutObjectAsync(Anchor.NameOf(_keys.Tag, anchor.Number), bytes, cancel).ConfigureAwait(false);
            foreach (ulong old in at.Numbers.Take(Math.Max(0, at.Numbers.Count + 1 - Anchor.KeptCount)))
            {
                await at.Holder.DeleteObjectAsync(Anchor.NameOf(_keys.Tag, old), cancel).ConfigureAwait(false);
            }
        })).ConfigureAwait(false);
        foreach (AnchorsAt at in all.Where(static at => at.Failure is not null))
        {
            Note($"anchor: {at.Failure!.Message}");
        }
    }

    /// <summary>One holder in a publication.</summary>
    private sealed class AnchorsAt(IFragmentHolder holder)
    {
        internal IFragmentHolder Holder { get; } = holder;

        internal List<ulong> Numbers { get; set; } = [];

        internal DiskException? Failure { get; private set; }

        internal async Task TryAsync(Func<Task> does)
        {
            try
            {
                await does().ConfigureAwait(false);
            }
            catch (DiskException failure)
            {
                Failure = failure;
            }
        }
    }

    /// <summary>Burnable domains are left out: the words do not bring them back.</summary>
    private Dictionary<DomainId, ReadOnlyMemory<byte>> WrappedDomains() =>
        _wrappedDomains ??= _domains.Values.Where(static domain => domain.Kind != DomainKind.Burnable)
            .ToDictionary(static domain => domain.Id, domain => (ReadOnlyMemory<byte>)KeyWrap.Wrap(domain, _keys.RecoveryPublicKey.Span, _random));

    /// <summary>Sees to it, once a process, that a holder has every wrapped domain as a whole object of its own. Older epochs' objects stay.</summary>
    private async ValueTask PutKeysAsync(IFragmentHolder holder, CancellationToken cancel)
    {
        if (_haveKeys.Contains(holder.Id))
        {
            return;
        }

        foreach ((DomainId id, ReadOnlyMemory<byte> wrapped) in WrappedDomains())
        {
            await PutKeysAsync(holder, _domains[id], wrapped, cancel).ConfigureAwait(false);
        }
    }

    private async ValueTask PutKeysAsync(IFragmentHolder holder, KeyDomain domain, ReadOnlyMemory<byte> wrapped, CancellationToken cancel)
    {
        string name = Anchor.KeysNameOf(_keys.Tag, domain.Id, domain.CurrentEpoch);
        byte[] held = await AccountFinder.ReadObjectAsync(holder, name, cancel).ConfigureAwait(false);
        try
        {
            if (held.Length > 0)
            {
                Anchor.ReadKeys(held, _keys.AnchorKey.Span, _keys.AccountPublicKey.Span, name);
                return;
            }
        }
        catch (DamagedFormatException damage)
        {
            Note($"{damage.Message}; it is written again");
        }

        byte[] bytes = Anchor.WriteKeys(_keys.Tag, domain.CurrentEpoch, wrapped, _keys.AnchorKey.Span, _keys.Certificate, _keys.DeviceKeys, _random);
        await holder.PutObjectAsync(name, bytes, cancel).ConfigureAwait(false);
    }

    private IEnumerable<AnchorLog> Positions()
    {
        if (_catalogLog.Position is { } catalog)
        {
            yield return new AnchorLog(RecordLogKind.Catalog, _device, catalog.Header.Incarnation, catalog.Header.Number, catalog.Header.LogId, (ulong)catalog.Bytes);
        }

        if (_journal.Position is { } journal)
        {
            yield return new AnchorLog(RecordLogKind.Journal, _device, journal.Header.Incarnation, journal.Header.Number, journal.Header.LogId, (ulong)journal.Bytes);
        }
    }
}
