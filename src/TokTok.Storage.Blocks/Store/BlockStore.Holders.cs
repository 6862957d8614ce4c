using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Store;

/// <content>Holders that come, come back and go while the store is open.</content>
public sealed partial class BlockStore
{
    private readonly Lock _holderGate = new(); // one change at a time; taken before the catalog log's
    private readonly HashSet<HolderId> _cameLater = []; // guarded by _holderGate

    /// <summary>From here on these are the holders: what was absent and is reachable now is read and written again, what is new gets its share of what is written next, what is not among
    /// them gets nothing more. A holder keeps its number.</summary>
    /// <remarks>
    /// Safe beside readers and writers: each looks holders up anew, and one that holds on to a holder that went meets what it meets when a peer vanishes. The caller keeps replaced holders
    /// undisposed until the store is closed. What another line of this device left at a holder that came later is joined at the next opening; until then reclaim counts it as absent
    /// (<see cref="PlacesOfOthers"/>).
    /// </remarks>
    public void ChangeHolders(IReadOnlyList<ConfiguredHolder> configured)
    {
        ArgumentNullException.ThrowIfNull(configured);
        lock (_holderGate)
        {
            if (IsWritable)
            {
                ThrowIfNotWritable();
            }

            HashSet<HolderId> present = [.. Holders.Where(static holder => holder.Holder is not null).Select(static holder => holder.Id)];
            try
            {
                List<StoreHolder> holders = NumberHolders(_catalogLog, configured, IsWritable ? StoreAccess.Write : StoreAccess.Read);
                if (IsWritable)
                {
                    _catalogLog.Sync(); // before anything names a new number
                }

                _cameLater.UnionWith(holders.Where(holder => holder.Holder is not null && !present.Contains(holder.Id)).Select(static holder => holder.Id));
                SetHolders(holders);
            }
            catch (Exception failure)
            {
                Fail(failure);
                throw;
            }
        }
    }

    private void SetHolders(IReadOnlyList<StoreHolder> holders)
    {
        _table = new HolderTable(holders, new Placement(holders, _options.Rule));
        _room.Change(_table);
    }

    /// <summary>Whether a holder was not there when the store was opened: its copies of other lines' logs were not read.</summary>
    private bool CameLater(StoreHolder holder)
    {
        lock (_holderGate)
        {
            return _cameLater.Contains(holder.Id);
        }
    }
}
