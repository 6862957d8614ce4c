using System.Buffers;
using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;

namespace TokTok.Storage.WebDav;

/// <summary>Lets in who knows the token: as the password of Basic (RFC 7617), whatever the user name, or as a bearer token (RFC 6750).</summary>
/// <remarks>
/// It keeps SHA-256 of the token, and compares the hash of what it is shown in constant time: neither the token's bytes nor its length show in how long that takes.
/// A token of 128 random bits or more needs no limit of attempts. The challenge names Basic alone, which every client knows.
/// </remarks>
internal sealed class AccessGuard
{
    internal const int MaxHeaderChars = 1024;

    private readonly byte[] _hash;

    internal AccessGuard(ReadOnlySpan<byte> token)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(token.Length, WebDavOptions.MinTokenBytes, nameof(token));
        _hash = SHA256.HashData(token);
    }

    internal bool Admits(IHeaderDictionary headers)
    {
        if (headers.Authorization.Count != 1 || headers.Authorization[0] is not { Length: <= MaxHeaderChars } header)
        {
            return false;
        }

        int space = header.IndexOf(' ', StringComparison.Ordinal);
        ReadOnlySpan<char> scheme = header.AsSpan(0, Math.Max(0, space));
        ReadOnlySpan<char> credentials = header.AsSpan(space + 1).Trim(' ');
        return scheme.Equals("Basic", StringComparison.OrdinalIgnoreCase) ? IsPassword(credentials)
            : scheme.Equals("Bearer", StringComparison.OrdinalIgnoreCase) && IsToken(Encoding.UTF8.GetBytes(credentials.ToArray()));
    }

    private bool IsPassword(ReadOnlySpan<char> credentials)
    {
        byte[] text = Encoding.UTF8.GetBytes(credentials.ToArray());
        if (Base64.DecodeFromUtf8InPlace(text, out int bytes) != OperationStatus.Done)
        {
            return false;
        }

        int colon = text.AsSpan(0, bytes).IndexOf((byte)':');
        bool isToken = colon >= 0 && IsToken(text.AsSpan((colon + 1)..bytes));
        CryptographicOperations.ZeroMemory(text);
        return isToken;
    }

    private bool IsToken(ReadOnlySpan<byte> shown)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(shown, hash);
        return CryptographicOperations.FixedTimeEquals(hash, _hash);
    }
}
