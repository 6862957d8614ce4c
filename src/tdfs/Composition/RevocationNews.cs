using TokTok.Storage.Blocks.Placing;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Holders;
using TokTok.Storage.Node.Peers;
using TokTok.Storage.Node.Transport;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Tdfs.Composition;

/// <summary>Which devices of the account are revoked goes from the catalog to who must refuse them: the peers that keep for it, and its own node.</summary>
/// <remarks>Format: docs/protocol.md 3.11, docs/format.md 17.6. Owns nothing. Peers that are met later hear it when they are met (<see cref="PeerHolders"/>).</remarks>
internal sealed class RevocationNews(BlockStore store, string folder, Keyring keyring, IDisk disk, IRandomSource random, TimeProvider clock)
{
    /// <summary>What is said: at most what a peer remembers.</summary>
    internal static IReadOnlyList<Revocation> Of(BlockStore store) =>
        [.. store.Revocations().Take(Revocation.MaxCount).Select(static said => new Revocation(said.Signer, said.Statement))];

    internal static RevocationFile FileOf(string folder, Keyring keyring, IDisk disk, IRandomSource random, TimeProvider clock) => new(disk, folder, keyring.CacheKey, random, clock);

    /// <summary>Keeps what is in force for processes without a catalog, and says it to the peers that are there if it is news.</summary>
    internal async ValueTask KeepAsync(CancellationToken cancel)
    {
        if (await WriteAsync(cancel).ConfigureAwait(false))
        {
            _ = await TellAsync(cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Whether it was news.</summary>
    internal ValueTask<bool> WriteAsync(CancellationToken cancel) => FileOf(folder, keyring, disk, random, clock).KeepAsync(Of(store), cancel);

    /// <summary>Says it to every peer.</summary>
    /// <returns>Who has not heard it, one line each.</returns>
    internal async ValueTask<IReadOnlyList<string>> TellAsync(CancellationToken cancel)
    {
        IReadOnlyList<Revocation> inForce = Of(store);
        if (inForce.Count == 0)
        {
            return [];
        }

        string?[] untold = await Task.WhenAll(store.Holders.Where(static holder => PeerHolders.IsPeer(holder) && (holder.Holder is not null || !holder.IsGone)).Select(holder => TellAsync(holder, inForce, cancel))).ConfigureAwait(false);
        return [.. untold.OfType<string>()];
    }

    private static async Task<string?> TellAsync(StoreHolder holder, IReadOnlyList<Revocation> inForce, CancellationToken cancel)
    {
        if (holder.Itself is not PeerHolder peer)
        {
            return holder.Problem ?? $"{PeerHolders.Show(holder)} does not answer";
        }

        try
        {
            await Revocation.SayAsync(peer.Connection, inForce, isRefused: false, cancel).ConfigureAwait(false);
            return null;
        }
        catch (PeerException problem)
        {
            return $"peer {problem.Message}";
        }
    }
}
