using TokTok.Storage.Blocks.Logs;
using TokTok.Storage.Blocks.Recovery;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;

namespace TokTok.Storage.Blocks.Store;

/// <content>What holders get beside fragments: copies of the catalog, the anchor, the wrapped keys.</content>
public sealed partial class BlockStore
{
    private ulong _anchorNumber;
    private List<ReadOnlyMemory<byte>>? _wrappedDomains;

    /// <summary>Brings every reachable holder up to date. A holder that fails only lags.</summary>
    public async ValueTask PublishAsync(CancellationToken cancel)
    {
        ThrowIfNotWritable();
        List<IFragmentHolder> holders = ReachableHolders();
        await _catalogLog.PublishAsync(holders, cancel).ConfigureAwait(false);
        foreach (IFragmentHolder holder in holders)
        {
            try
            {
                await PutAnchorAsync(holder, cancel).ConfigureAwait(false);
            }
            catch (DiskException failure)
            {
                Note($"anchor: {failure.Message}");
            }
        }
    }

    private async ValueTask PutAnchorAsync(IFragmentHolder holder, CancellationToken cancel)
    {
        IReadOnlyList<HolderObject> kept = await holder.ListObjectsAsync(Anchor.Prefix + _keys.Tag, cancel).ConfigureAwait(false);
        var numbers = new List<ulong>();
        foreach (HolderObject found in kept)
        {
            string digits = found.Name[(found.Name.LastIndexOf('-') + 1)..];
            if (ulong.TryParse(digits, System.Globalization.NumberStyles.AllowHexSpecifier, System.Globalization.CultureInfo.InvariantCulture, out ulong number))
            {
                numbers.Add(number);
            }
        }

        numbers.Sort();
        _anchorNumber = Math.Max(_anchorNumber, numbers.Count == 0 ? 0 : numbers[^1]) + 1;
        if (_wrappedDomains is null)
        {
            // Burnable domains are left out: the words do not bring them back.
            _wrappedDomains = [.. _domains.Values.Where(static domain => domain.Kind != DomainKind.Burnable)
                .Select(domain => (ReadOnlyMemory<byte>)KeyWrap.Wrap(domain, _keys.RecoveryPublicKey.Span, _random))];
        }

        var anchor = new Anchor
        {
            Tag = _keys.Tag,
            Number = _anchorNumber,
            AccountPublicKey = _keys.AccountPublicKey,
            Device = _device,
            TimeNs = NowNs(),
            Certificates = [_keys.Certificate.Bytes.ToArray()],
            WrappedDomains = _wrappedDomains,
            Holders = [.. _holders.Where(static item => !item.IsGone).Select(static item => new AnchorHolder(item.Id, item.Place, item.Address))],
            Heads = Catalog.Heads(),
            Logs = [.. Positions()],
        };
        await holder.PutObjectAsync(Anchor.NameOf(_keys.Tag, _anchorNumber), anchor.Write(_keys.AnchorKey.Span, _keys.DeviceKeys, _random), cancel).ConfigureAwait(false);
        if (numbers.Count == 0)
        {
            await holder.PutObjectAsync(Anchor.KeysNameOf(_keys.Tag), Anchor.WriteKeys(_wrappedDomains), cancel).ConfigureAwait(false);
        }

        foreach (ulong old in numbers.Take(Math.Max(0, numbers.Count + 1 - Anchor.KeptCount)))
        {
            await holder.DeleteObjectAsync(Anchor.NameOf(_keys.Tag, old), cancel).ConfigureAwait(false);
        }
    }

    private IEnumerable<AnchorLog> Positions()
    {
        if (_catalogLog.Position is { } catalog)
        {
            yield return new AnchorLog(RecordLogKind.Catalog, _device, catalog.Header.Number, catalog.Header.LogId, (ulong)catalog.Bytes);
        }

        if (_journal.Position is { } journal)
        {
            yield return new AnchorLog(RecordLogKind.Journal, _device, journal.Header.Number, journal.Header.LogId, (ulong)journal.Bytes);
        }
    }
}
