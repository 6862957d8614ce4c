using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace TokTok.Storage.Node.Transport;

/// <summary>Connections of whom nothing is known that would tell one from another but where they come from: so many at most, and whoever has most of them loses the oldest.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.2. A flood from one address meets itself: others, and a quick one of its own, find room. An address is an IPv4 address or an IPv6 network of 64 bits, since who has one of these has all of it.
/// Locks: _gate guards the lists; connections are ended outside.
/// </remarks>
internal sealed class Crowd(int max)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<(bool IsV4, ulong Bits), LinkedList<Member>> _byAddress = [];
    private int _count;

    /// <summary>Takes a connection in; another one is ended where there are too many.</summary>
    /// <param name="end">Ends this one, should another need its room: called once at most, by any thread.</param>
    internal Member Enter(IPAddress? from, Action end)
    {
        var member = new Member(KeyOf(from), end);
        Member? ended = null;
        lock (_gate)
        {
            if (_count >= max)
            {
                ended = _byAddress.Values.MaxBy(static list => list.Count)!.First!.Value; // max lists at most
                RemoveLocked(ended);
            }

            if (!_byAddress.TryGetValue(member.Key, out LinkedList<Member>? list))
            {
                _byAddress[member.Key] = list = new LinkedList<Member>();
            }

            member.Node = list.AddLast(member);
            _count++;
        }

        ended?.End();
        return member;
    }

    internal void Leave(Member member)
    {
        lock (_gate)
        {
            RemoveLocked(member);
        }
    }

    private void RemoveLocked(Member member)
    {
        if (member.Node is not { List: { } list } node)
        {
            return; // it has lost its room already
        }

        list.Remove(node);
        _count--;
        if (list.Count == 0)
        {
            _byAddress.Remove(member.Key);
        }
    }

    private static (bool IsV4, ulong Bits) KeyOf(IPAddress? address)
    {
        if (address is { IsIPv4MappedToIPv6: true })
        {
            address = address.MapToIPv4();
        }

        Span<byte> bytes = stackalloc byte[16];
        bytes.Clear();
        _ = address?.TryWriteBytes(bytes, out _);
        return (address?.AddressFamily != AddressFamily.InterNetworkV6, BinaryPrimitives.ReadUInt64BigEndian(bytes));
    }

    internal sealed class Member((bool IsV4, ulong Bits) key, Action end)
    {
        internal (bool IsV4, ulong Bits) Key => key;

        internal LinkedListNode<Member>? Node { get; set; }

        internal void End() => end();
    }
}
