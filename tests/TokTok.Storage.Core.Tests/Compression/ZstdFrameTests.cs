using TokTok.Storage.Core.Compression;

namespace TokTok.Storage.Core.Tests.Compression;

public sealed class ZstdFrameTests
{
    [Theory, InlineData(-3), InlineData(1), InlineData(3), InlineData(9)]
    public void Runs_are_where_the_plaintext_stands_and_hold_nearly_all_noise(int level)
    {
        for (int seed = 0; seed < 60; seed++)
        {
            var random = new Random(seed);
            byte[] plain = Mixed(random, out int noise);
            byte[] packed = new byte[plain.Length + 1000];
            Assert.True(Zstd.TryCompress(plain, packed, level, out int bytes));
            packed = packed[..bytes];
            int found = 0;
            int end = 0;
            foreach (VerbatimRun run in ZstdFrame.VerbatimRuns(packed, plain, 4096))
            {
                Assert.True(run.PlainOffset >= end && run.Length >= 4096, $"seed {seed}: a run at {run.PlainOffset} of {run.Length}, behind one that ends at {end}");
                Assert.True(plain.AsSpan(run.PlainOffset, run.Length).SequenceEqual(packed.AsSpan(run.PackedOffset, run.Length)), $"seed {seed}: the run at {run.PlainOffset}");
                found += run.Length;
                end = run.PlainEnd;
            }

            Assert.InRange(found, (noise / 2) - 20_000, plain.Length); // an encoder may pack a block of both otherwise
        }
    }

    [Fact]
    public void Bytes_that_are_no_frame_have_no_runs_that_are_not_there()
    {
        for (int seed = 0; seed < 2000; seed++)
        {
            var random = new Random(seed);
            byte[] plain = Mixed(random, out _);
            byte[] packed = new byte[plain.Length + 1000];
            Assert.True(Zstd.TryCompress(plain, packed, 1, out int bytes));
            packed = packed[..random.Next(0, bytes + 1)];
            for (int i = 0; i < 5 && packed.Length > 0; i++)
            {
                packed[random.Next(0, Math.Min(packed.Length, i == 0 ? 20 : packed.Length))] ^= (byte)(1 << random.Next(8));
            }

            foreach (VerbatimRun run in ZstdFrame.VerbatimRuns(packed, plain, 100))
            {
                Assert.True(plain.AsSpan(run.PlainOffset, run.Length).SequenceEqual(packed.AsSpan(run.PackedOffset, run.Length)), $"seed {seed}");
            }
        }
    }

    private static byte[] Mixed(Random random, out int noise)
    {
        noise = 0;
        var plain = new List<byte>();
        for (int parts = random.Next(1, 5); parts > 0; parts--)
        {
            byte[] part = new byte[random.Next(1, 20) * random.Next(1, 10_000)];
            if (random.Next(2) == 0)
            {
                random.NextBytes(part);
                noise += part.Length;
            }
            else
            {
                for (int at = 0; at < part.Length; at++)
                {
                    part[at] = (byte)"0a1b2c3d "[at % 9];
                }
            }

            plain.AddRange(part);
        }

        return [.. plain];
    }
}
