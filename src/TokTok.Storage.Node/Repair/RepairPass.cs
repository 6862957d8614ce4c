using TokTok.Storage.Core;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Repair;

/// <summary>A capability as its holder of it shows it: the grant with every request, and an arena's entry with each that is about one.</summary>
/// <remarks>Format: docs/protocol.md 3.12.</remarks>
public sealed class RepairPass(RepairCapability capability)
{
    private readonly Dictionary<ArenaId, RepairArena> _arenas = capability.Arenas.ToDictionary(static arena => arena.Entry.Id);

    internal string Text { get; } = Convert.ToBase64String(capability.Grant.Bytes);

    /// <summary>What a request begins with.</summary>
    internal ReadOnlyMemory<byte> Head(string operation, ReadOnlyMemory<byte> head)
    {
        int at = operation switch
        {
            Protocol.Operation.Inspect => sizeof(ushort), // of one
            Protocol.Operation.Read or Protocol.Operation.Hashes or Protocol.Operation.PutBegin => 0,
            _ => -1,
        };
        return at < 0 ? head : (byte[])[.. _arenas[ArenaId.Read(head.Span.Slice(at, ArenaId.Size))].Prefix(), .. head.Span];
    }
}
