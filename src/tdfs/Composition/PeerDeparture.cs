using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Blocks.Upkeep;
using TokTok.Storage.Core;
using TokTok.Storage.Files;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Gives a peer up as a holder: first everything goes elsewhere, then it may delete.</summary>
/// <remarks>
/// What speaks against it is found before anything moves (<see cref="Drain"/>). Order: the list says that it leaves, durably → nothing new goes there → fragments and blocks elsewhere, durable →
/// catalog, journal and anchor elsewhere → releases at the peer → the list forgets it. An interruption between any two leaves a peer that is leaving and is read as before: asking again goes on.
/// Moving fragments shares the store with other verbs of a node, arena by arena; only writing blocks again in another class is alone.
/// </remarks>
/// <param name="freeBytes">What a holder's disk, or a peer, has room for.</param>
/// <param name="share">Keeps out, as long as it is held, whoever changes sealed arenas.</param>
/// <param name="alone">Runs a step with nobody else in the store.</param>
internal sealed class PeerDeparture(
    BlockStore store, StorePeers peers, HolderWatch watch, IRootWalker walker, Func<StoreHolder, long> freeBytes, Func<CancellationToken, ValueTask<IDisposable>> share, Func<Func<BlockStore, ValueTask<bool>>, CancellationToken, ValueTask> alone)
{
    internal async ValueTask<LeaveResult> RunAsync(string name, IProgressSink progress, CancellationToken cancel)
    {
        Peer peer = peers.FindHolder(name);
        await watch.LookAsync(cancel).ConfigureAwait(false);
        peer = peers.FindHolder(name); // met just now, its holder is known
        Drain drain;
        using (await share(cancel).ConfigureAwait(false))
        {
            drain = new Drain(store, new TreeWalker(), peer.Holder); // nothing is held meanwhile: what is open and in no head is written as the places are by then
            if (await drain.RefusalAsync(freeBytes, Reporter(progress), cancel).ConfigureAwait(false) is { } refusal)
            {
                throw new UserError(ExitCode.Reported, $"{name} stays: {refusal}");
            }
        }

        PeerInfo info = await peers.SetLeavingAsync(name, true, cancel).ConfigureAwait(false);                 // 1.
        await watch.LookAsync(cancel).ConfigureAwait(false);                                                   // 2.
        (long moved, string? why) = await MoveAsync(drain, progress, cancel).ConfigureAwait(false);            // 3.
        if (drain.Bytes > 0)
        {
            throw new UserError(ExitCode.Reported, $"{name} is leaving and has {Show.Size(drain.Bytes)} still, which could not be moved ({why ?? "no other place takes it"}); run this again to go on, or with --stay to keep it");
        }

        using (await share(cancel).ConfigureAwait(false))
        {
            await store.PublishAsync(cancel).ConfigureAwait(false);                                            // 4.
        }

        bool isOnlyDevice = store.Catalog.Certificates().Select(static certificate => certificate.DeviceNumber).Distinct().Count() <= 1;
        string? problem = await peers.ReleaseAllAsync(
            peer, id => isOnlyDevice || store.Catalog.Arena(id) is { } arena && store.OwnerOf(arena) == store.Device, isOnlyDevice, cancel).ConfigureAwait(false); // 5.
        await peers.EndAsync(name, cancel).ConfigureAwait(false);                                              // 6.
        await watch.LookAsync(cancel).ConfigureAwait(false);
        return new LeaveResult(info, moved, problem);
    }

    private async ValueTask<(long Moved, string? Why)> MoveAsync(Drain drain, IProgressSink progress, CancellationToken cancel)
    {
        long all = Math.Max(1, drain.Bytes);
        long moved = 0;
        string? why = null;
        using (await share(cancel).ConfigureAwait(false))
        {
            await store.OpenBlocks(store.Realm, 0).FlushAsync(cancel).ConfigureAwait(false); // what was being sealed for it has its record
        }

        if (drain.NeedsRecoding)
        {
            await alone(
                async writer =>
                {
                    RecodeReport report = await new Recoder(writer, walker).RunAsync(Reporter(progress), cancel).ConfigureAwait(false);
                    moved += report.MovedBytes;
                    why = report.Problems.Count > 0 ? report.Problems[0] : null;
                    return false;
                },
                cancel).ConfigureAwait(false);
        }

        foreach (uint ordinal in drain.Ordinals())
        {
            using IDisposable shared = await share(cancel).ConfigureAwait(false);
            if (store.Catalog.Arena(ordinal) is not { } arena || arena.State == ArenaState.Trashed)
            {
                continue; // reclaim was quicker
            }

            MendReport mended = await new Scrubber(store).PlaceAsync(arena, cancel).ConfigureAwait(false);
            moved += mended.WrittenBytes;
            why ??= mended.Failure?.Message ?? (mended.Unrepairable.Count > 0 ? mended.Unrepairable[0] : null);
            progress.Report(new ProgressState { Phase = "moving fragments", Bytes = Math.Min(all, moved), TotalBytes = all });
        }

        return (moved, why);
    }

    private static Action<string, long, long> Reporter(IProgressSink progress) => (phase, done, total) => progress.Report(total > 0
        ? new ProgressState { Phase = phase, Bytes = done, TotalBytes = total }
        : new ProgressState { Phase = phase, Current = Show.Count(done, "block") });
}
