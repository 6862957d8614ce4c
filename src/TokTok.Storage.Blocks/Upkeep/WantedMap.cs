using System.Runtime.InteropServices;

using TokTok.Storage.Blocks.Catalogs;
using TokTok.Storage.Blocks.Store;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Upkeep;

/// <summary>How many lost places each clump is to outlive: the most that any reference asks for. And whether all of these come from folders that are freed here.</summary>
/// <remarks>
/// One thread. Of several copies of a block the strongest is the one that counts; the others are wanted by nobody.
/// Memory: four bytes a block, and the scores of open arenas.
/// A cell holds two numbers, each one more than the places meant, so that 0 says "by nobody": the most that a mark asked for, from where the walk has been
/// below; and the most that was asked for at all. They differ where something strong lies below a block: the block itself is raised, its other parts are not.
/// Only the content of files is ever freed: tables and extents stay here, so that names are listed, and trees walked, without a word to anybody.
/// </remarks>
internal sealed class WantedMap(BlockStore store, DomainId domain) : IFreedMarker
{
    private const byte KeptReference = 1;
    private const byte FreedReference = 2;

    private readonly Dictionary<uint, Cell[]> _cells = [];
    private readonly Dictionary<Score, Cell> _open = [];
    private Cell _nowhere;

    /// <param name="WalkedFreed">As Walked, from below freed folders.</param>
    /// <param name="References">Of which kinds there were any.</param>
    private record struct Cell(byte Walked, byte Wanted, byte WalkedFreed, byte References);

    public int DefaultSurvive { get; } = store.Feasible(store.DefaultSurvive);

    /// <summary>Blocks that a root wants and no arena holds.</summary>
    internal long MissingCount { get; private set; }

    internal long MarkedCount { get; private set; }

    /// <summary>The most lost places that any mark asked for, whether or not there are places for it.</summary>
    internal int Strongest { get; private set; }

    /// <summary>Blocks of open arenas, and how many lost places they are to outlive.</summary>
    internal IEnumerable<(Score Score, int Survive)> Open => _open.Select(static pair => (pair.Key, pair.Value.Wanted - 1));

    /// <summary>Blocks of open arenas that only freed folders refer to.</summary>
    internal IEnumerable<(Score Score, int Survive)> OpenFreed => _open.Where(static pair => pair.Value.References == FreedReference).Select(static pair => (pair.Key, pair.Value.Wanted - 1));

    public bool Mark(Score score, BlockType type) => Mark(score, type, DefaultSurvive);

    public bool Mark(Score score, BlockType type, int survive) => Mark(score, type, survive, isFreed: false);

    public bool Mark(Score score, BlockType type, int survive, bool isFreed)
    {
        ref Cell cell = ref CellOf(score, out bool isMissing);
        if (isMissing)
        {
            MissingCount++;
            return false; // nothing below it can be reached
        }

        byte asked = (byte)(store.Feasible(survive) + 1);
        Strongest = Math.Max(Strongest, survive);
        MarkedCount += cell.Wanted == 0 ? 1 : 0;
        cell.Wanted = Math.Max(cell.Wanted, asked);
        cell.References |= isFreed && type == BlockType.Data ? FreedReference : KeptReference;
        if (cell.Walked >= asked || (isFreed && cell.WalkedFreed >= asked))
        {
            return false;
        }

        if (isFreed)
        {
            cell.WalkedFreed = asked;
        }
        else
        {
            cell.Walked = asked;
        }

        return true;
    }

    public int Raise(Score score, BlockType type, int survive)
    {
        ref Cell cell = ref CellOf(score, out bool isMissing);
        byte asked = (byte)(store.Feasible(survive) + 1);
        if (!isMissing)
        {
            cell.Wanted = Math.Max(cell.Wanted, asked);
        }

        return isMissing ? survive : cell.Wanted - 1;
    }

    /// <summary>How many lost places a clump is to outlive; null: nothing wants it.</summary>
    internal int? Wanted(ArenaRecord arena, int entryIndex) =>
        _cells.TryGetValue(arena.Ordinal, out Cell[]? cells) && cells[entryIndex].Wanted > 0 ? cells[entryIndex].Wanted - 1 : null;

    /// <summary>Whether only freed folders refer to a clump.</summary>
    internal bool IsFreed(ArenaRecord arena, int entryIndex) => ReferencesOf(arena, entryIndex) == FreedReference;

    /// <summary>Whether freed folders refer to a clump, and others.</summary>
    internal bool IsShared(ArenaRecord arena, int entryIndex) => ReferencesOf(arena, entryIndex) == (FreedReference | KeptReference);

    internal bool HasAny(uint ordinal) => _cells.ContainsKey(ordinal);

    private byte ReferencesOf(ArenaRecord arena, int entryIndex) => _cells.TryGetValue(arena.Ordinal, out Cell[]? cells) ? cells[entryIndex].References : (byte)0;

    private ref Cell CellOf(Score score, out bool isMissing)
    {
        isMissing = false;
        if (store.PendingSurvive(domain, score) is not null)
        {
            return ref CollectionsMarshal.GetValueRefOrAddDefault(_open, score, out _);
        }

        if (store.LocateEntry(domain, score) is not { } found)
        {
            isMissing = true;
            return ref _nowhere;
        }

        if (!_cells.TryGetValue(found.Arena.Ordinal, out Cell[]? cells))
        {
            _cells[found.Arena.Ordinal] = cells = new Cell[found.Arena.ClumpCount];
        }

        return ref cells[found.EntryIndex];
    }
}
