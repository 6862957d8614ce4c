using System.Buffers.Binary;
using System.Text;

namespace TokTok.Storage.Tdfs.Tests.Drills;

/// <summary>One fragment in a file of a holder, found by docs/format.md 7 alone.</summary>
internal sealed record FragmentSpot(string Arena, int Index, string File, long Offset, int Bytes, int CountInFile, int Position)
{
    internal const int GroupBytes = 16 * 1024;

    internal bool IsLast => Position == CountInFile - 1;

    internal int Groups => (Bytes + GroupBytes - 1) / GroupBytes;

    internal int GroupLength(int group) => Math.Min(GroupBytes, Bytes - (group * GroupBytes));
}

/// <summary>Reads where fragments lie, without the program: a drill must not believe the code that it tests.</summary>
internal static class FragmentPage
{
    private const int FixedBytes = 48;
    private const int EntryBytes = 44;

    /// <summary>Every fragment at these holders, by arena.</summary>
    internal static SortedDictionary<string, List<FragmentSpot>> Read(IEnumerable<string> holders)
    {
        var arenas = new SortedDictionary<string, List<FragmentSpot>>(StringComparer.Ordinal);
        foreach (string file in holders.SelectMany(static holder => Directory.GetFiles(Path.Join(holder, "fragments"), "*", SearchOption.AllDirectories)).Order(StringComparer.Ordinal))
        {
            foreach (FragmentSpot spot in ReadFile(file))
            {
                if (!arenas.TryGetValue(spot.Arena, out List<FragmentSpot>? spots))
                {
                    arenas[spot.Arena] = spots = [];
                }

                spots.Add(spot);
            }
        }

        return arenas;
    }

    private static IEnumerable<FragmentSpot> ReadFile(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        Assert.Equal("TDFSFRG1", Encoding.ASCII.GetString(bytes, 0, 8));
        string arena = Convert.ToHexStringLower(bytes.AsSpan(8, 32));
        Assert.Equal(Path.GetFileName(path), arena);
        int count = BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(42));
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<byte> entry = bytes.AsSpan(FixedBytes + (i * EntryBytes), EntryBytes);
            yield return new FragmentSpot(
                arena,
                BinaryPrimitives.ReadUInt16LittleEndian(entry),
                path,
                BinaryPrimitives.ReadUInt32LittleEndian(entry[4..]),
                (int)BinaryPrimitives.ReadUInt32LittleEndian(entry[8..]),
                count,
                i);
        }
    }
}
