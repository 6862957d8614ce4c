using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Peers;

/// <summary>The peer list as a running node asks it: from memory, read again every two seconds, since other processes change the file.</summary>
/// <remarks>So a stranger's question costs no disk access, and a revocation is in force two seconds later. A list that cannot be read leaves the last one in force, and is told once.</remarks>
public sealed class PeerBook(PeerFile file, TimeProvider clock, Action<string>? trouble)
{
    public static readonly TimeSpan Turn = TimeSpan.FromSeconds(2);

    private volatile PeerList _list = file.Read();
    private string? _told;

    public PeerList List => _list;

    public PeerFile File => file;

    internal long NowSeconds => clock.GetUtcNow().ToUnixTimeSeconds();

    public void Refresh()
    {
        try
        {
            _list = file.Read();
            _told = null;
        }
        catch (Exception failure) when (failure is DiskException or DamagedFormatException)
        {
            if (_told != failure.Message)
            {
                _told = failure.Message;
                trouble?.Invoke($"{failure.Message}; the peers known before stay in force");
            }
        }
    }

    /// <summary>The most that any let-in peer of an account is granted, and that peer; null: the account is not let in.</summary>
    internal Peer? LetIn(Bytes32 account)
    {
        long now = NowSeconds;
        return _list.Peers.Where(peer => peer.AccountKey == account && peer.IsLetIn(now)).MaxBy(static peer => peer.KeptForIt);
    }

    /// <summary>The accounts that are let in, each with its term: the longest of its peers, and 0, which is none, where one of them has none.</summary>
    internal IReadOnlyDictionary<Bytes32, uint> Terms()
    {
        long now = NowSeconds;
        return _list.Peers.Where(peer => peer.IsLetIn(now)).GroupBy(static peer => peer.AccountKey)
            .ToDictionary(static account => account.Key, static account => account.Any(static peer => peer.AbsenceDays == 0) ? 0 : account.Max(static peer => peer.AbsenceDays));
    }

    /// <summary>Whether an account is a peer's that was not revoked, whatever is kept for it.</summary>
    internal bool IsKnown(Bytes32 account)
    {
        long now = NowSeconds;
        return account != default && _list.Peers.Any(peer => peer.AccountKey == account && !peer.IsRevoked && !peer.HasEnded(now));
    }

    /// <summary>Bytes a day that are put through for an account at most.</summary>
    internal long RelayOf(Bytes32 account)
    {
        long now = NowSeconds;
        return _list.Peers.Where(peer => peer.AccountKey == account && !peer.IsRevoked && !peer.HasEnded(now)).Max(static peer => (long?)peer.RelayADay) ?? 0;
    }

    /// <summary>Changes the file, and the list that is in force here.</summary>
    internal async ValueTask ChangeAsync(Func<PeerList, PeerList> change, CancellationToken cancel) => _list = await file.ChangeAsync(change, cancel).ConfigureAwait(false);
}
