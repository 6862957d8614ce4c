using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Transport;

/// <summary>How a stranger's connection becomes one of an account that is let in: its grant held (docs/protocol.md 3.12).</summary>
/// <remarks>Once, for the first account that is named. Locks: _gate guards both fields; <paramref name="enter"/> is called inside, and takes the gates' own locks.</remarks>
/// <param name="enter">Counts the connection as the account's; false: that has too many.</param>
internal sealed class PeerAdmission(Func<Bytes32, bool> enter)
{
    private readonly Lock _gate = new();
    private Bytes32? _account;
    private bool _isOver;

    internal bool IsAdmitted
    {
        get
        {
            lock (_gate)
            {
                return _account is not null;
            }
        }
    }

    internal void Admit(Bytes32 account)
    {
        lock (_gate)
        {
            if (!_isOver && _account is null && enter(account))
            {
                _account = account;
            }
        }
    }

    /// <summary>The connection has ended: the account that it counted for.</summary>
    internal Bytes32? End()
    {
        lock (_gate)
        {
            _isOver = true;
            return _account;
        }
    }
}
