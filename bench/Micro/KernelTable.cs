using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using TokTok.Storage.Blocks.Arenas;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Chunking;
using TokTok.Storage.Core.Compression;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Erasure;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Core.Keys;

namespace Micro;

/// <summary>The kernels beside b3sum, ISA-L, openssl and memory copies in one run: `tools/bench kernels [ROUNDS] [PART OF A NAME]`.</summary>
/// <remarks>One thread. Rates are bytes per second of CPU, so that a shared machine bends them less; rounds are interleaved, medians are shown.
/// A reference that is not installed leaves its column empty and is named at the end.</remarks>
internal static partial class KernelTable
{
    private const int MiB = 1 << 20;
    private const int BlockBytes = 64 << 10;
    private const int CompressionLevel = 3;
    private static readonly TimeSpan s_turn = TimeSpan.FromMilliseconds(250);
    private static readonly byte[] s_noise = Noise(64 * MiB);
    private static readonly SortedSet<string> s_missing = [];

    internal static void Run(int rounds, string part)
    {
        using GearTable gear = GearTable.FromSeed(new byte[GearTable.SeedSize]);
        List<Row> rows =
        [
            new("BLAKE3 of 64 KiB", "b3sum", 0.75, Blake3Of(64 << 10), static () => B3Sum()),
            new("BLAKE3 of 1 MiB", "b3sum", 0.75, Blake3Of(MiB), static () => B3Sum()),
            new("BLAKE3 of 1 MiB with its group hashes", "without them", 0.9, BlakeGroups(), Blake3Of(MiB)),
            .. Erasure(10, 4),
            .. Erasure(16, 1),
            .. Erasure(29, 51),
            new("FastCDC, 64 MiB", "memory copy", 0.25, Cutting(gear), Copying()),
            new("DARE AES-256-GCM, 64 KiB packages", "openssl, 16 KiB", 0.95, Packages(), static () => OpenSsl("aes-256-gcm")),
            new("AES-256-CTR of a 16 MiB arena", "openssl, 16 KiB", 0.6, ArenaCounter(), static () => OpenSsl("aes-256-ctr")),
            .. WholeBlock(),
        ];
        rows.RemoveAll(row => !row.Name.Contains(part, StringComparison.OrdinalIgnoreCase));
        for (int round = 0; round < rounds; round++)
        {
            foreach (Row row in rows)
            {
                row.Measure();
            }
        }

        Console.WriteLine($"{Environment.ProcessorCount} processors, {KernelPaths.Best}, {DateTime.UtcNow:yyyy-MM-dd}, load {File.ReadAllText("/proc/loadavg").Split(' ')[0]}; one thread, MB/s of CPU, medians of {rounds} interleaved rounds. **Bold**: below what is wanted.\n");
        Console.WriteLine("| kernel | beside | ours | reference | ratio | at least |\n|---|---|--:|--:|--:|--:|");
        rows.ForEach(static row => row.Print());
        Console.WriteLine($"\nScore, compress and encrypt a block of 64 KiB allocates {AllocatedByBlock()} bytes.");
        if (s_missing.Count > 0)
        {
            Console.WriteLine($"Left out: {string.Join(", ", s_missing)}; apt-get install b3sum libisal2 openssl");
        }
    }

    private static Func<double?> Blake3Of(int bytes)
    {
        byte[] hash = new byte[Blake3.HashSize];
        return Turn(bytes, () => Blake3.Hash(s_noise.AsSpan(0, bytes), hash));
    }

    private static Func<double?> BlakeGroups()
    {
        byte[] hash = new byte[Blake3.HashSize];
        byte[] groups = new byte[Blake3Tree.GroupCount(MiB) * Blake3.HashSize];
        return Turn(MiB, () => Blake3Tree.HashWithGroups(s_noise.AsSpan(0, MiB), groups, hash));
    }

    private static IEnumerable<Row> Erasure(int k, int m)
    {
        const int SliceBytes = 64 << 10;
        var coder = new ReedSolomon(k, m);
        byte[] data = s_noise[..(k * SliceBytes)];
        byte[] parity = new byte[m * SliceBytes];
        coder.Encode(data, parity, SliceBytes);

        // The worst case that can be had back: as many data slices lost as there is parity, or all.
        int lost = Math.Min(k, m);
        int[] present = [.. Enumerable.Range(lost, k)];
        byte[] held = [.. data, .. parity];
        held = held[(lost * SliceBytes)..((lost + k) * SliceBytes)];
        int[] wanted = [.. Enumerable.Range(0, lost)];
        byte[] rebuilt = new byte[lost * SliceBytes];
        yield return new Row($"Reed-Solomon encode {k}+{m}", "ISA-L", 1.2, Turn(data.Length, () => coder.Encode(data, parity, SliceBytes)), IsaL(k, m, SliceBytes, rebuilds: 0));
        yield return new Row($"Reed-Solomon reconstruct {lost} of {k}+{m}", "ISA-L", 1.0, Turn(data.Length, () => coder.Reconstruct(present, held, wanted, rebuilt, SliceBytes)), IsaL(k, m, SliceBytes, rebuilds: lost));
    }

    private static Func<double?> Cutting(GearTable gear)
    {
        var chunker = new FastCdc(gear, ChunkBounds.ForMean(128 << 10));
        return Turn(s_noise.Length, () =>
        {
            for (int at = 0; at < s_noise.Length;)
            {
                at += chunker.NextCut(s_noise.AsSpan(at));
            }
        });
    }

    private static Func<double?> Copying()
    {
        byte[] target = new byte[s_noise.Length];
        return Turn(s_noise.Length, () => s_noise.CopyTo(target, 0));
    }

    private static Func<double?> Packages()
    {
        byte[] key = new byte[Dare.KeySize];
        byte[] cipher = new byte[Dare.CipherBytes(MiB)];
        return Turn(MiB, () => Dare.Encrypt(key, SystemRandom.Instance, s_noise.AsSpan(0, MiB), cipher, DareSuite.Aes256Gcm));
    }

    private static Func<double?> ArenaCounter()
    {
        byte[] key = new byte[ArenaCipher.KeySize];
        byte[] image = new byte[16 * MiB];
        return Turn(image.Length, () => ArenaCipher.Transform(key, 0, image));
    }

    /// <summary>Blocks of text against the sum of score, compression and encryption alone.</summary>
    /// <remarks>Different blocks, as an import has them. Whole and parts take turns of a few milliseconds: in turns of a quarter of a second, one after
    /// another, the same code showed 0.70 to 0.94 of its parts, by what else the machine did and what zstd alone kept in the caches.</remarks>
    private static IEnumerable<Row> WholeBlock()
    {
        byte[][] blocks = TextBlocks();
        KeyDomain domain = KeyDomain.Create(DomainKind.Realm, SystemRandom.Instance);
        var compressor = new Compressor();
        byte[] scratch = new byte[Clump.HeaderSize + BlockBytes];
        byte[] target = new byte[Clump.MaxBytes];
        byte[] key = new byte[Dare.KeySize];
        byte[][] packed = [.. blocks.Select(block =>
        {
            compressor.Compress(block, scratch, CompressionLevel, out int bytes);
            return new byte[Clump.HeaderSize + bytes];
        })];
        (double Whole, double Parts) rates = default;
        yield return new Row(
            "score, compress and encrypt blocks of 64 KiB of text",
            "the sum of its parts",
            0.95,
            () =>
            {
                double[] seconds = InTurns(
                    blocks.Length,
                    i => WriteBlock(domain, blocks[i], compressor, scratch, target),
                    i => Clump.ScoreOf(domain, BlockType.Data, blocks[i]),
                    i => compressor.Compress(blocks[i], scratch, CompressionLevel, out _),
                    i => Dare.Encrypt(key, SystemRandom.Instance, packed[i], target));
                rates = (BlockBytes / 1e6 / seconds[0], BlockBytes / 1e6 / (seconds[1] + seconds[2] + seconds[3]));
                return rates.Whole;
            },
            () => rates.Parts);
    }

    /// <summary>Seconds of CPU a call of each kernel. They take turns of a few milliseconds, so that what else the machine does meets all alike.</summary>
    private static double[] InTurns(int inputs, params Action<int>[] kernels)
    {
        const int Batch = 8;
        var taken = new TimeSpan[kernels.Length];
        long count = 0;
        for (int first = 0; taken[0] < 2 * s_turn; first = (first + Batch) % inputs, count += Batch)
        {
            for (int k = 0; k < kernels.Length; k++)
            {
                TimeSpan begin = Environment.CpuUsage.TotalTime;
                for (int i = 0; i < Batch; i++)
                {
                    kernels[k]((first + i) % inputs);
                }

                taken[k] += Environment.CpuUsage.TotalTime - begin;
            }
        }

        return [.. taken.Select(time => time.TotalSeconds / count)];
    }

    private static void WriteBlock(KeyDomain domain, byte[] text, Compressor compressor, byte[] scratch, byte[] target) =>
        Clump.Write(domain, domain.CurrentEpoch, Clump.ScoreOf(domain, BlockType.Data, text), BlockType.Data, text, CompressionLevel, compressor, SystemRandom.Instance, scratch, target);

    private static long AllocatedByBlock()
    {
        byte[] text = TextBlocks()[0];
        KeyDomain domain = KeyDomain.Create(DomainKind.Realm, SystemRandom.Instance);
        var compressor = new Compressor();
        byte[] scratch = new byte[Clump.HeaderSize + text.Length];
        byte[] target = new byte[Clump.MaxBytes];
        WriteBlock(domain, text, compressor, scratch, target);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
        {
            WriteBlock(domain, text, compressor, scratch, target);
        }

        return (GC.GetAllocatedBytesForCurrentThread() - before) / 100;
    }

    /// <summary>One thread of b3sum over 1 GiB in memory, an empty run subtracted.</summary>
    private static double? B3Sum()
    {
        const long Bytes = 1L << 30;
        string folder = Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath();
        string file = Path.Combine(folder, $"tdfs-kernels-{Environment.ProcessId}");
        try
        {
            File.WriteAllBytes(file, []);
            if (Start("b3sum", "--num-threads", "1", file) is not { } empty)
            {
                return null;
            }

            using (FileStream whole = File.OpenWrite(file))
            {
                for (long at = 0; at < Bytes; at += s_noise.Length)
                {
                    whole.Write(s_noise);
                }
            }

            return Start("b3sum", "--num-threads", "1", file) is { } full ? Bytes / 1e6 / (full.CpuSeconds - empty.CpuSeconds) : null;
        }
        finally
        {
            File.Delete(file);
        }
    }

    /// <summary>`openssl speed` counts user time by itself. The last line: the cipher, then thousands of bytes a second.</summary>
    private static double? OpenSsl(string cipher)
    {
        if (Start("openssl", "speed", "-evp", cipher, "-bytes", "16384", "-seconds", "1") is not { } done)
        {
            return null;
        }

        Match rate = Rate().Match(done.Output);
        return rate.Success ? double.Parse(rate.Groups[1].Value, CultureInfo.InvariantCulture) / 1000 : null;
    }

    private static (double CpuSeconds, string Output)? Start(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            process.ErrorDataReceived += static (_, _) => { };
            process.BeginErrorReadLine();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return (ChildrenCpu(), output);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            s_missing.Add(program);
            return null;
        }

        // What ended children took since the last look.
        static double ChildrenCpu()
        {
            double now = Children();
            double taken = now - s_childrenBefore;
            s_childrenBefore = now;
            return taken;
        }

        static double Children()
        {
            string[] fields = File.ReadAllText("/proc/self/stat").Split(") ")[^1].Split(' ');
            return (long.Parse(fields[13], CultureInfo.InvariantCulture) + long.Parse(fields[14], CultureInfo.InvariantCulture)) / 100.0;
        }
    }

    private static double s_childrenBefore;

    /// <summary>Encoding, or rebuilding the first data slices with the inverse of the rows that are left, as ISA-L's own examples do it.</summary>
    private static unsafe Func<double?> IsaL(int k, int m, int sliceBytes, int rebuilds)
    {
        if (!NativeLibrary.TryLoad("libisal.so.2", out _))
        {
            s_missing.Add("libisal2");
            return static () => null;
        }

        int rows = rebuilds > 0 ? rebuilds : m;
        byte[] matrix = new byte[(k + m) * k];
        fixed (byte* a = matrix)
        {
            gf_gen_cauchy1_matrix(a, k + m, k);
        }

        byte[] coding = matrix[(k * k)..];
        if (rebuilds > 0)
        {
            byte[] left = matrix[(rebuilds * k)..((rebuilds + k) * k)];
            coding = new byte[k * k];
            fixed (byte* l = left, c = coding)
            {
                if (gf_invert_matrix(l, c, k) != 0)
                {
                    throw new InvalidOperationException("ISA-L found no inverse");
                }
            }
        }

        byte* tables = (byte*)NativeMemory.AlignedAlloc((nuint)(32 * k * rows), 64);
        fixed (byte* c = coding)
        {
            ec_init_tables(k, rows, c, tables);
        }

        byte* slices = (byte*)NativeMemory.AlignedAlloc((nuint)((k + rows) * sliceBytes), 64);
        s_noise.AsSpan(0, k * sliceBytes).CopyTo(new Span<byte>(slices, k * sliceBytes));
        byte** pointers = (byte**)NativeMemory.AlignedAlloc((nuint)((k + rows) * sizeof(byte*)), 64);
        for (int i = 0; i < k + rows; i++)
        {
            pointers[i] = slices + ((long)i * sliceBytes);
        }

        return Turn(k * sliceBytes, () => ec_encode_data(sliceBytes, k, rows, tables, pointers, pointers + k));
    }

    /// <summary>Repeats a kernel for a turn and gives its MB/s of this process's CPU.</summary>
    private static Func<double?> Turn(int bytes, Action kernel) => () =>
    {
        kernel();
        long count = 0;
        TimeSpan begin = Environment.CpuUsage.TotalTime;
        TimeSpan taken;
        do
        {
            long batch = Math.Max(1, (4L * MiB) / bytes);
            for (long i = 0; i < batch; i++)
            {
                kernel();
            }

            count += batch;
            taken = Environment.CpuUsage.TotalTime - begin;
        }
        while (taken < s_turn);
        return count * bytes / 1e6 / taken.TotalSeconds;
    };

    private static byte[] Noise(int bytes)
    {
        byte[] noise = new byte[bytes];
        new Random(1).NextBytes(noise);
        return noise;
    }

    private static byte[][] TextBlocks()
    {
        string source = string.Concat(Directory.EnumerateFiles("src", "*.cs", SearchOption.AllDirectories)
            .Concat(Directory.EnumerateFiles("tests", "*.cs", SearchOption.AllDirectories)).Order(StringComparer.Ordinal).Select(File.ReadAllText));
        return [.. System.Text.Encoding.UTF8.GetBytes(source).Chunk(BlockBytes).Where(static block => block.Length == BlockBytes)];
    }

    [GeneratedRegex(@"(?mi)^aes-256-\w+\s+([0-9.]+)k")]
    private static partial Regex Rate();

    [LibraryImport("libisal.so.2")]
    private static unsafe partial void gf_gen_cauchy1_matrix(byte* matrix, int rows, int columns);

    [LibraryImport("libisal.so.2")]
    private static unsafe partial int gf_invert_matrix(byte* matrix, byte* inverse, int size);

    [LibraryImport("libisal.so.2")]
    private static unsafe partial void ec_init_tables(int k, int rows, byte* coding, byte* tables);

    [LibraryImport("libisal.so.2")]
    private static unsafe partial void ec_encode_data(int bytes, int k, int rows, byte* tables, byte** data, byte** coded);

    private sealed class Row(string name, string beside, double wanted, Func<double?> ours, Func<double?> reference)
    {
        private readonly List<double> _ours = [];
        private readonly List<double> _reference = [];

        internal string Name => name;

        internal void Measure()
        {
            _ours.AddRange(ours() is { } rate ? [rate] : []);
            _reference.AddRange(reference() is { } other ? [other] : []);
        }

        internal void Print()
        {
            double mine = Median(_ours);
            double? theirs = _reference.Count > 0 ? Median(_reference) : null;
            string ratio = theirs is { } other ? (mine / other).ToString("F2", CultureInfo.InvariantCulture) : "";
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"| {name} | {beside} | {mine:F0} | {theirs:F0} | {(theirs is { } t && mine / t < wanted ? $"**{ratio}**" : ratio)} | {wanted:F2} |"));
        }

        private static double Median(List<double> rates) => rates.Order().ElementAt(rates.Count / 2);
    }
}
