using TokTok.Storage.Core;

namespace TokTok.Storage.Testing;

/// <summary>Changes valid bytes at random and hands them to a reader, which must give something back or say what is wrong: no other exception, no large allocation.</summary>
/// <remarks>A failure names the seed, the round and the bytes. Allocation is measured on the calling thread, so a reader must not wait for others.</remarks>
public static class HostileBytes
{
    /// <summary>What a reader may allocate for a byte it was given, once for its pieces and once for what they become, and at all.</summary>
    private const int AllocatedPerByte = 200;
    private const long AllocatedAtAll = 4 * 1024 * 1024;

    /// <summary>Values at which lengths, counts and varints go wrong.</summary>
    private static readonly byte[] s_interesting = [0, 1, 2, 4, 16, 0x7f, 0x80, 0x81, 0xfe, 0xff];

    /// <param name="reseal">Puts right what would have the reader stop at a checksum; null where there is none.</param>
    public static void AssertHandled(int seed, ReadOnlySpan<byte> valid, Action<byte[]> read, Action<byte[]>? reseal = null, int rounds = 3000)
    {
        ArgumentNullException.ThrowIfNull(read);
        var random = new SeededRandom(seed);
        byte[] original = valid.ToArray();
        read(original.ToArray()); // what is valid must be read, or the rest proves nothing
        for (int round = 0; round < rounds; round++)
        {
            byte[] bytes = round % 8 == 7 ? random.Bytes(random.Next(original.Length + 64)) : Change(original, random);
            reseal?.Invoke(bytes);
            long before = GC.GetAllocatedBytesForCurrentThread();
            try
            {
                read(bytes);
            }
            catch (Exception refused) when (refused is DamagedFormatException or DamagedBlockException)
            {
                // Said, and said by name.
            }
            catch (Exception other)
            {
                throw new InvalidOperationException($"seed {seed}, round {round}: {other.GetType().Name} for {Convert.ToHexString(bytes)}", other);
            }

            long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            if (allocated > AllocatedAtAll + ((long)bytes.Length * AllocatedPerByte))
            {
                throw new InvalidOperationException($"seed {seed}, round {round}: {allocated} bytes allocated for {bytes.Length}: {Convert.ToHexString(bytes)}");
            }
        }
    }

    private static byte[] Change(byte[] original, SeededRandom random)
    {
        var bytes = new List<byte>(original);
        int changes = 1 + random.Next(4);
        for (int change = 0; change < changes && bytes.Count > 0; change++)
        {
            int at = random.Next(bytes.Count);
            switch (random.Next(7))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes[at] = s_interesting[random.Next(s_interesting.Length)];
                    break;
                case 2:
                    bytes.RemoveRange(at, bytes.Count - at); // the end is missing
                    break;
                case 3:
                    bytes.RemoveRange(at, Math.Min(1 + random.Next(8), bytes.Count - at));
                    break;
                case 4:
                    bytes.InsertRange(at, bytes.GetRange(at, Math.Min(1 + random.Next(16), bytes.Count - at))); // something twice
                    break;
                case 5:
                    bytes.InsertRange(at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, (byte)(random.Next(2) == 0 ? 0x7f : 0xff), 0x01]); // a huge varint
                    break;
                default:
                    for (int i = at; i < Math.Min(at + 8, bytes.Count); i++)
                    {
                        bytes[i] = (byte)(random.Next(2) == 0 ? 0xff : 0);
                    }

                    break;
            }
        }

        return [.. bytes];
    }
}
