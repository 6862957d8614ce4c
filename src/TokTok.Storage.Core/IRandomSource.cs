using System.Security.Cryptography;

namespace TokTok.Storage.Core;

/// <summary>The door through which randomness comes in, so that one seed replays a whole run.</summary>
public interface IRandomSource
{
    /// <summary>Fills the whole span. Safe from many threads.</summary>
    void Fill(Span<byte> target);
}

/// <summary>The operating system's cryptographic generator.</summary>
public sealed class SystemRandom : IRandomSource
{
    public static SystemRandom Instance { get; } = new();

    public void Fill(Span<byte> target) => RandomNumberGenerator.Fill(target);
}
