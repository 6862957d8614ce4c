using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Core;

namespace TokTok.Storage.Blocks.Fragments;

/// <summary>The fragments of one arena: their names by index, and the holder that should have each (null: none, or not reachable).</summary>
public sealed record FragmentSet(ArenaId Id, ArenaLayout Layout, IReadOnlyList<FragmentSource> Fragments);

public readonly record struct FragmentSource(FragmentName Name, IFragmentHolder? Holder);
