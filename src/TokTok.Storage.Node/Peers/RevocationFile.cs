using TokTok.Storage.Core;
using TokTok.Storage.Core.Encryption;
using TokTok.Storage.Core.Keys;
using TokTok.Storage.Node.Wire;

namespace TokTok.Storage.Node.Peers;

/// <summary>Which devices of this account are revoked, as the catalog said last: for processes that speak with peers and have no catalog open.</summary>
/// <remarks>Format: docs/format.md 17.6. Whoever has the store open to write keeps it; a copy of what the catalog has, so that one that is lost or damaged is as none until then. The cache key stays the caller's.</remarks>
public sealed class RevocationFile(IDisk disk, string stateFolder, SecretBytes cacheKey, IRandomSource random, TimeProvider clock)
{
    public const string Name = "statements";

    private readonly EncryptedFile _file = new(disk, stateFolder, Name, "TDFSOWN1", "tdfs 2026-11 own statements v1", cacheKey, random, clock);

    public IReadOnlyList<Revocation> Read()
    {
        try
        {
            return _file.Read() is { } contents ? Revocation.Read(contents) : [];
        }
        catch (DamagedFormatException)
        {
            return [];
        }
    }

    /// <summary>Makes it say what is in force, which never becomes none again.</summary>
    /// <returns>Whether that was news.</returns>
    public async ValueTask<bool> KeepAsync(IReadOnlyList<Revocation> inForce, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(inForce);
        if (inForce.Count == 0)
        {
            return false;
        }

        bool isNews = false;
        await _file.ChangeAsync(
            before =>
            {
                FieldWriter now = Revocation.Write(inForce);
                isNews = before is null || !now.Written.SequenceEqual(before);
                return isNews ? now : null;
            },
            cancel).ConfigureAwait(false);
        return isNews;
    }
}
