using System.IO.Compression;

namespace HitRate;

/// <summary>Sequences of uses of 64 KiB windows.</summary>
internal static class Workloads
{
    /// <summary>Favourites after Zipf's law, whose ranks move on: every so often the most used thing becomes another, as with what people work on.</summary>
    internal static ulong[] ZipfWithDrift(int things, int uses, double skew, int driftEvery, int seed)
    {
        Random random = new(seed);
        double[] upTo = new double[things];
        double sum = 0;
        for (int rank = 0; rank < things; rank++)
        {
            upTo[rank] = sum += 1 / Math.Pow(rank + 1, skew);
        }

        ulong[] all = new ulong[uses];
        int moved = 0;
        for (int at = 0; at < uses; at++)
        {
            moved += at % driftEvery == driftEvery - 1 ? 1 : 0;
            int rank = Array.BinarySearch(upTo, random.NextDouble() * sum);
            rank = Math.Min(rank < 0 ? ~rank : rank, things - 1);
            all[at] = (ulong)(rank + moved); // what was second is first now; something new is last
        }

        return all;
    }

    /// <summary>A hot set in use all the time, and again and again somebody reads through much more, once.</summary>
    internal static ulong[] ScansOverHotSet(int hot, int scan, int uses, int seed)
    {
        Random random = new(seed);
        ulong[] all = new ulong[uses];
        ulong next = 1 << 30;
        int left = 0;
        for (int at = 0; at < uses; at++)
        {
            left = left == 0 && random.Next(scan * 2) == 0 ? scan : left;
            bool isScan = left > 0 && random.Next(4) != 0; // work goes on beside it
            left -= isScan ? 1 : 0;
            all[at] = isScan ? next++ : (ulong)(hot * random.NextDouble() * random.NextDouble());
        }

        return all;
    }

    /// <summary>A recorded sequence of opened files: lines of a number and a count of windows.</summary>
    internal static ulong[] Recorded(string path)
    {
        using StreamReader lines = new(new GZipStream(File.OpenRead(path), CompressionMode.Decompress));
        List<ulong> all = [];
        while (lines.ReadLine() is { } line)
        {
            string[] parts = line.Split(' ');
            ulong file = ulong.Parse(parts[0], System.Globalization.CultureInfo.InvariantCulture);
            for (ulong window = 0; window < ulong.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture); window++)
            {
                all.Add((file << 20) | window);
            }
        }

        return [.. all];
    }
}
