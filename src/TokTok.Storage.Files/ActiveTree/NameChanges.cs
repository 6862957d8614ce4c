using System.Diagnostics.CodeAnalysis;

namespace TokTok.Storage.Files;

/// <summary>What a name of a directory stands for since the commit before: another file, or nothing any more.</summary>
internal readonly record struct NameChange(Inode? Child, ulong Stamp);

/// <summary>The names of a directory that are not as they were committed. Guarded by the tree's gate of names.</summary>
internal sealed class NameChanges
{
    private readonly Dictionary<byte[], NameChange> _changes = new(NameComparer.Instance);
    private readonly Dictionary<byte[], NameChange>.AlternateLookup<ReadOnlySpan<byte>> _lookup;

    internal NameChanges() => _lookup = _changes.GetAlternateLookup<ReadOnlySpan<byte>>();

    internal int Count => _changes.Count;

    internal IReadOnlyDictionary<byte[], NameChange> All => _changes;

    internal bool TryGet(ReadOnlySpan<byte> name, out NameChange change) => _lookup.TryGetValue(name, out change);

    internal void Put(byte[] name, NameChange change) => _changes[name] = change;

    /// <summary>Forgets what a commit has written: everything up to its stamp.</summary>
    internal void Settle(IEnumerable<byte[]> written, ulong stamp)
    {
        foreach (byte[] name in written)
        {
            if (_changes.TryGetValue(name, out NameChange change) && change.Stamp <= stamp)
            {
                _ = _changes.Remove(name);
            }
        }
    }
}

/// <summary>Names as bytes.</summary>
internal sealed class NameComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
{
    internal static NameComparer Instance { get; } = new();

    public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

    public int GetHashCode([DisallowNull] byte[] obj) => GetHashCode(obj.AsSpan());

    public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

    public int GetHashCode(ReadOnlySpan<byte> alternate)
    {
        var hash = default(HashCode); // seeded anew in every process: nobody can choose names that collide
        hash.AddBytes(alternate);
        return hash.ToHashCode();
    }

    public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();
}
