using TokTok.Storage.Core;

namespace TokTok.Storage.Node.Transport;

/// <summary>The body of one answer as it comes, a piece at a time.</summary>
/// <param name="promised">How long its sender says that it is.</param>
/// <param name="limit">How long it may be, whatever its sender says.</param>
/// <param name="waits">Told before each piece how many bytes have come: what has come moves the end of our patience.</param>
/// <param name="comes">Told of each piece, and not done before the next may come.</param>
internal sealed class PeerAnswer(Stream stream, string operation, long? promised, int limit, Action<int> waits, Func<int, ValueTask> comes, CancellationToken cancel)
{
    private const int PieceBytes = 64 * 1024;

    /// <summary>How much has come.</summary>
    internal int Length { get; private set; }

    /// <summary>Fills the target with what comes next.</summary>
    /// <exception cref="DamagedFormatException">There is no more, and its sender means it so.</exception>
    /// <exception cref="IOException">The connection broke.</exception>
    internal async ValueTask FillAsync(Memory<byte> target)
    {
        while (!target.IsEmpty)
        {
            int part = await ReadAsync(target).ConfigureAwait(false);
            if (part == 0)
            {
                CheckWhole();
                throw new DamagedFormatException($"{operation}: ends after {Length} bytes");
            }

            target = target[part..];
        }
    }

    /// <summary>All of it; null: it is longer than it may be, or than was promised.</summary>
    /// <exception cref="IOException">The connection broke.</exception>
    internal async ValueTask<byte[]?> AllAsync()
    {
        byte[] all = GC.AllocateUninitializedArray<byte>((int)Math.Min(limit, promised ?? PieceBytes));
        byte[]? beyond = null;
        while (true)
        {
            bool isFull = Length == all.Length;
            int before = Length;
            if (await ReadAsync(isFull ? beyond ??= new byte[1] : all.AsMemory(before)).ConfigureAwait(false) == 0)
            {
                CheckWhole();
                return Length == all.Length ? all : all[..Length];
            }

            if (isFull)
            {
                if (promised is not null || before == limit)
                {
                    return null;
                }

                Array.Resize(ref all, (int)Math.Min(limit, Math.Max(PieceBytes, 2L * all.Length)));
                all[before] = beyond![0];
            }
        }
    }

    /// <summary>False: there is more.</summary>
    /// <exception cref="IOException">The connection broke.</exception>
    internal async ValueTask<bool> IsOverAsync()
    {
        bool isOver = await ReadAsync(new byte[1]).ConfigureAwait(false) == 0;
        if (isOver)
        {
            CheckWhole();
        }

        return isOver;
    }

    private async ValueTask<int> ReadAsync(Memory<byte> target)
    {
        waits(Length);
        int part = await stream.ReadAsync(target[..Math.Min(PieceBytes, target.Length)], cancel).ConfigureAwait(false);
        if (part > 0)
        {
            Length += part;
            await comes(part).ConfigureAwait(false);
        }

        return part;
    }

    private void CheckWhole()
    {
        if (promised is not null && promised != Length)
        {
            throw new IOException($"the answer ended after {Length} of {promised} bytes");
        }
    }
}
