using System.Buffers.Binary;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Node.Holders;

/// <summary>On how many different days a node ran: the clock by which released arenas are deleted.</summary>
/// <remarks>
/// Format: docs/format.md 17.2. A day counts once, when it is first seen; a clock that jumps, either way, counts one. So nothing is deleted sooner than it was promised because a clock is wrong.
/// Not safe from many threads.
/// </remarks>
internal sealed class RunningDays
{
    private const int Size = 8 + (2 * sizeof(uint)) + 4;

    private readonly IDisk _disk;
    private readonly string _folder;
    private readonly TimeProvider _clock;
    private uint _lastDay;

    /// <param name="atLeast">The highest day that anything released names: where the file cannot be read, days go on from there.</param>
    internal RunningDays(IDisk disk, string folder, TimeProvider clock, uint atLeast)
    {
        _disk = disk;
        _folder = folder;
        _clock = clock;
        Count = atLeast;
        byte[] file = new byte[Size + 1];
        if (disk.FileExists(Path))
        {
            using IDiskFile open = disk.Open(Path, DiskOpen.Read);
            int read = open.Read(0, file);
            Span<byte> hash = stackalloc byte[Blake3.HashSize];
            Blake3.Hash(file.AsSpan(0, Size - 4), hash);
            if (read == Size && file.AsSpan(0, 8).SequenceEqual(Magic) && file.AsSpan(Size - 4, 4).SequenceEqual(hash[..4]))
            {
                Count = Math.Max(atLeast, BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(8)));
                _lastDay = BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(12));
            }
        }
    }

    internal uint Count { get; private set; }

    private static ReadOnlySpan<byte> Magic => "TDFSDAY1"u8;

    private string Path => _folder + "/days";

    /// <summary>Counts today, if it was not yet. True if the count rose.</summary>
    internal bool Tick()
    {
        uint today = (uint)Math.Max(0, _clock.GetUtcNow().ToUnixTimeSeconds() / 86_400);
        if (today == _lastDay)
        {
            return false;
        }

        Count++;
        _lastDay = today;
        byte[] file = new byte[Size];
        Magic.CopyTo(file);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(8), Count);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(12), _lastDay);
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(file.AsSpan(0, Size - 4), hash);
        hash[..4].CopyTo(file.AsSpan(Size - 4));
        WholeFile.Write(_disk, _folder, Path, file);
        return true;
    }
}
