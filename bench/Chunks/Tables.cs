using System.Globalization;
using TokTok.Storage.Core.Chunking;
using TokTok.Storage.Core.Compression;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Files;

namespace Chunks;

/// <summary>The tables that chose three defaults, as Markdown. Each row is a fresh store, or a fresh pass over the files.</summary>
internal static class Tables
{
    private const double MiB = 1024 * 1024;

    /// <summary>Each a mean, or least-mean-most: what is stored, what a change adds, what a random read costs, how large the index gets.</summary>
    internal static async Task ChunksAsync(Dictionary<string, string> inputs, string[] bounds)
    {
        Header("chunks KiB", "input", "stored MiB", "of it trees", "blocks", "edited or overwritten adds MiB", "insertions add MiB", "import CPU s", "random 4 KiB read: CPU us", "wall us", "bytes read", "index MiB");
        foreach (string sizes in bounds)
        {
            int[] parts = [.. sizes.Split('-').Select(static part => int.Parse(part, CultureInfo.InvariantCulture) << 10)];
            ContentOptions content = parts.Length == 3
                ? ContentOptions.Default with { MinChunkBytes = parts[0], MeanChunkBytes = parts[1], MaxChunkBytes = parts[2] }
                : ContentOptions.Default with { MeanChunkBytes = parts[0] };
            foreach ((string name, string path) in inputs.Where(static input => input.Key is "kernel" or "sdk" or "image"))
            {
                MeasuredStore store = await MeasuredStore.CreateAsync(content, Program.Level);
                await using (store)
                {
                    Imported first = await store.ImportAsync("v", path);
                    RandomReads? reads = name == "image" ? await store.ReadRandomlyAsync("v", "image") : null;
                    string? changed = inputs.GetValueOrDefault(name == "image" ? "image-overwritten" : name + "-edited");
                    Imported? edited = changed is null ? null : await store.ImportAsync("v", changed);
                    Imported? inserted = name == "image" ? await store.ImportAsync("w", inputs["image-inserted"]) : null;
                    long indexBytes = await store.CloseAsync();
                    Row(
                        sizes, name, Size(first.Written.Bytes), Size(first.Written.TreeBytes), first.Written.Blocks, Size(edited?.Written.Bytes), Size(inserted?.Written.Bytes),
                        Number(first.CpuSeconds, 1), Number(reads?.CpuMicroseconds, 0), Number(reads?.WallMicroseconds, 0), Number(reads?.ReadBytes, 0), Size(indexBytes));
                }
            }
        }
    }

    /// <summary>zstd's levels over the distinct chunks of each input: one thread, so CPU is the compressor's own.</summary>
    internal static void Levels(Dictionary<string, string> inputs, int[] levels)
    {
        Header(["input", "chunks MiB", .. levels.Select(static level => $"level {level}: MiB"), .. levels.Select(static level => $"level {level}: MB/s of CPU")]);
        foreach ((string name, string path) in inputs.Where(static input => input.Key is "kernel" or "sdk" or "image"))
        {
            var pass = new LevelPass(levels);
            IEnumerable<string> files = File.Exists(path) ? [path] : new DirectoryInfo(path).EnumerateFiles("*", new EnumerationOptions
            {
                RecurseSubdirectories = true,
                AttributesToSkip = FileAttributes.ReparsePoint,
            }).Select(static file => file.FullName);
            foreach (string file in files)
            {
                pass.AddFile(file);
            }

            pass.Finish();
            Row([name, Size(pass.PlainBytes), .. pass.PackedBytes.Select(static bytes => Size(bytes)), .. pass.CpuSeconds.Select(seconds => Number(pass.PlainBytes / 1e6 / seconds, 0))]);
        }
    }

    /// <summary>Files up to the threshold inside their entry: fewer blocks, larger trees.</summary>
    internal static async Task InlineAsync(Dictionary<string, string> inputs, int[] thresholds)
    {
        Header("inline up to", "stored MiB", "of it trees", "blocks", "first import CPU s", "unchanged import CPU s", "unchanged adds KiB", "edited tree adds MiB", "of it trees");
        foreach (int threshold in thresholds)
        {
            MeasuredStore store = await MeasuredStore.CreateAsync(ContentOptions.Default with { InlineBytes = threshold }, Program.Level);
            await using (store)
            {
                Imported first = await store.ImportAsync("v", inputs["kernel"]);
                Imported unchanged = await store.ImportAsync("v", inputs["kernel"]);
                Imported edited = await store.ImportAsync("v", inputs["kernel-edited"]);
                Row(
                    threshold, Size(first.Written.Bytes), Size(first.Written.TreeBytes), first.Written.Blocks, Number(first.CpuSeconds, 1), Number(unchanged.CpuSeconds, 2),
                    Number(unchanged.Written.Bytes / 1024.0, 1), Size(edited.Written.Bytes), Size(edited.Written.TreeBytes));
            }
        }
    }

    private static string Size(long? bytes) => Number(bytes / MiB, bytes < 10 * MiB ? 2 : 1);

    private static string Number(double? value, int digits) => value?.ToString("F" + digits, CultureInfo.InvariantCulture) ?? "";

    private static void Header(params string[] names)
    {
        Row(names);
        Row([.. names.Select(static _ => "--:")]);
    }

    private static void Row(params object[] cells) => Console.WriteLine($"| {string.Join(" | ", cells)} |");

    /// <summary>Cuts files as import does, and compresses each distinct chunk at every level, a batch at a time so that reading the clock costs nothing.</summary>
    private sealed class LevelPass(int[] levels)
    {
        private const int BatchBytes = 64 << 20;
        private readonly GearTable _gear = GearTable.FromSeed(new byte[GearTable.SeedSize]);
        private readonly Compressor _compressor = new();
        private readonly HashSet<UInt128> _known = [];
        private readonly byte[] _batch = new byte[BatchBytes];
        private readonly List<(int Offset, int Length)> _chunks = [];
        private readonly byte[] _target = new byte[ChunkBounds.MaxChunkBytes];
        private int _filled;

        internal long PlainBytes { get; private set; }

        internal long[] PackedBytes { get; } = new long[levels.Length];

        internal double[] CpuSeconds { get; } = new double[levels.Length];

        internal void AddFile(string path)
        {
            var cutter = new FastCdc(_gear, ChunkBounds.ForMean(ContentOptions.Default.MeanChunkBytes));
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            if (file.Length <= ContentOptions.Default.InlineBytes)
            {
                return; // inside its entry
            }

            byte[] window = new byte[(int)Math.Min(file.Length, 4 << 20)];
            for (int filled = 0; ;)
            {
                int read = file.ReadAtLeast(window.AsSpan(filled), window.Length - filled, throwOnEndOfStream: false);
                filled += read;
                bool isLast = file.Position == file.Length;
                int at = 0;
                while (at < filled && (isLast || filled - at >= cutter.Bounds.MaxBytes))
                {
                    int length = cutter.NextCut(window.AsSpan(at, filled - at));
                    Add(window.AsSpan(at, length));
                    at += length;
                }

                window.AsSpan(at, filled - at).CopyTo(window);
                filled -= at;
                if (isLast)
                {
                    return;
                }
            }
        }

        internal void Finish()
        {
            Compress();
            _gear.Dispose();
        }

        private void Add(ReadOnlySpan<byte> chunk)
        {
            Span<byte> hash = stackalloc byte[Blake3.HashSize];
            Blake3.Hash(chunk, hash);
            if (!_known.Add(System.Buffers.Binary.BinaryPrimitives.ReadUInt128LittleEndian(hash)) || chunk.IndexOfAnyExcept((byte)0) < 0)
            {
                return;
            }

            if (_filled + chunk.Length > BatchBytes)
            {
                Compress();
            }

            chunk.CopyTo(_batch.AsSpan(_filled));
            _chunks.Add((_filled, chunk.Length));
            _filled += chunk.Length;
        }

        private void Compress()
        {
            for (int i = 0; i < levels.Length; i++)
            {
                TimeSpan before = Environment.CpuUsage.TotalTime;
                foreach ((int offset, int length) in _chunks)
                {
                    _ = _compressor.Compress(_batch.AsSpan(offset, length), _target, levels[i], out int bytes);
                    PackedBytes[i] += bytes;
                }

                CpuSeconds[i] += (Environment.CpuUsage.TotalTime - before).TotalSeconds;
            }

            PlainBytes += _filled;
            _filled = 0;
            _chunks.Clear();
        }
    }
}
