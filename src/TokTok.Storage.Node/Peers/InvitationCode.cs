using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;
using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;
using TokTok.Storage.Node.Identity;

namespace TokTok.Storage.Node.Peers;

/// <summary>What an invitation says, as one word that can be sent or read out: where to dial, whom to expect there, and a secret that serves once.</summary>
/// <remarks>Format: docs/protocol.md 3.4. The secret stands in the text, which is made to be shown; it opens nothing but one join, and only until it was used or expired.</remarks>
public sealed record InvitationCode
{
    public const int SecretSize = 10;
    public const string Prefix = "tdfs-";

    private const byte Version = 1;
    private const byte DeviceVersion = 2;
    private const int CheckSize = 4;
    private const int GroupCharacters = 6;
    private const int MaxTextCharacters = 1024;
    private const string Alphabet = "0123456789abcdefghjkmnpqrstvwxyz";
    private const byte NameKind = 1;
    private const byte FourKind = 4;
    private const byte SixKind = 6;

    public required ReadOnlyMemory<byte> Secret { get; init; }

    /// <summary>Of the inviter's device key.</summary>
    public required ReadOnlyMemory<byte> Fingerprint { get; init; }

    public required IReadOnlyList<NodeAddress> Addresses { get; init; }

    /// <summary>It enrols a device of the inviter's own account, and may have no address: then a holder's folder is the way.</summary>
    public bool IsForDevice { get; init; }

    public static Bytes32 HashOf(ReadOnlySpan<byte> secret)
    {
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(secret, hash);
        return Bytes32.Read(hash);
    }

    public override string ToString()
    {
        var writer = new FieldWriter(128);
        writer.U8(IsForDevice ? DeviceVersion : Version);
        writer.Bytes(Secret.Span);
        writer.Bytes(Fingerprint.Span);
        writer.U8((byte)Addresses.Count);
        foreach (NodeAddress address in Addresses)
        {
            if (address.Ip is { } ip)
            {
                writer.U8(ip.AddressFamily == AddressFamily.InterNetwork ? FourKind : SixKind);
                writer.Bytes(ip.GetAddressBytes());
            }
            else
            {
                writer.U8(NameKind);
                writer.ShortText(address.Host);
            }

            writer.U16(address.Port);
        }

        Span<byte> check = stackalloc byte[Blake3.HashSize];
        Blake3.Hash(writer.Written, check);
        writer.Bytes(check[..CheckSize]);
        return Prefix + Base32(writer.Written);
    }

    /// <param name="error">One line for a person: what is wrong with the text.</param>
    public static bool TryParse(string text, [NotNullWhen(true)] out InvitationCode? code, [NotNullWhen(false)] out string? error) => TryParse(text, isForDevice: false, out code, out error);

    /// <param name="isForDevice">Which of the two is expected.</param>
    /// <param name="error">One line for a person: what is wrong with the text.</param>
    public static bool TryParse(string text, bool isForDevice, [NotNullWhen(true)] out InvitationCode? code, [NotNullWhen(false)] out string? error)
    {
        if (!TryParseAny(text, isForDevice, out code, out error))
        {
            return false;
        }

        if (code.IsForDevice != isForDevice)
        {
            error = isForDevice
                ? "found the invitation of a peer, expected a code of `tdfs device add`; what a peer gives is for `tdfs peer accept`"
                : "found a code for a new device of an account, expected the invitation of a peer; it is for `tdfs device join`";
            return false;
        }

        return true;
    }

    private static bool TryParseAny(string text, bool isForDevice, [NotNullWhen(true)] out InvitationCode? code, [NotNullWhen(false)] out string? error)
    {
        ArgumentNullException.ThrowIfNull(text);
        code = null;
        text = text.Trim();
        if (text.Length > MaxTextCharacters || !text.StartsWith(Prefix, StringComparison.OrdinalIgnoreCase))
        {
            error = $"found no invitation, expected a code that begins with {Prefix}, as `tdfs {(isForDevice ? "device add" : "peer invite")}` prints it";
            return false;
        }

        byte[]? bytes = TryBytes(text.AsSpan(Prefix.Length), out char wrong);
        if (bytes is null)
        {
            error = wrong == '\0' ? "the invitation is cut short; copy the whole code" : $"found '{wrong}' in the invitation, which no code has; copy it again";
            return false;
        }

        if (bytes.Length >= 1 && bytes[0] is > DeviceVersion and < 32)
        {
            error = $"the invitation is of version {bytes[0]}, this program knows versions {Version} and {DeviceVersion}; install a newer one";
            return false;
        }

        Span<byte> check = stackalloc byte[Blake3.HashSize];
        int bodyBytes = Math.Max(0, bytes.Length - CheckSize);
        Blake3.Hash(bytes.AsSpan(0, bodyBytes), check);
        if (!bytes.AsSpan(bodyBytes).SequenceEqual(check[..Math.Min(CheckSize, bytes.Length)]) || bytes.Length <= CheckSize)
        {
            error = "the invitation is mistyped or cut short: its check does not match; copy the whole code again";
            return false;
        }

        try
        {
            code = Read(bytes.AsSpan(0, bodyBytes));
            error = null;
            return true;
        }
        catch (DamagedFormatException damage)
        {
            error = damage.Message;
            return false;
        }
    }

    private static InvitationCode Read(ReadOnlySpan<byte> bytes)
    {
        var reader = new FieldReader(bytes, "invitation");
        byte version = reader.U8();
        if (version is not (Version or DeviceVersion))
        {
            throw reader.Damaged("another version");
        }

        byte[] secret = reader.Bytes(SecretSize).ToArray();
        byte[] fingerprint = reader.Bytes(NodeIdentity.FingerprintSize).ToArray();
        int count = reader.U8();
        if (count > Peer.MaxAddresses || (count == 0 && version == Version))
        {
            throw reader.Damaged($"{count} addresses, 1 to {Peer.MaxAddresses} expected");
        }

        var addresses = new NodeAddress[count];
        for (int i = 0; i < count; i++)
        {
            byte kind = reader.U8();
            string host = kind switch
            {
                FourKind => new IPAddress(reader.Bytes(4)).ToString(),
                SixKind => new IPAddress(reader.Bytes(16)).ToString(),
                NameKind => reader.ShortText("a host"),
                _ => throw reader.Damaged($"an address of kind {kind}, 1, 4 or 6 expected"),
            };
            addresses[i] = new NodeAddress(host, reader.U16());
            if (addresses[i].Port == 0 || (kind == NameKind && (!NodeAddress.IsName(host) || IPAddress.TryParse(host, out _))))
            {
                throw reader.Damaged("an address is no host with a port");
            }
        }

        reader.End();
        return new InvitationCode { Secret = secret, Fingerprint = fingerprint, Addresses = addresses, IsForDevice = version == DeviceVersion };
    }

    /// <summary>In groups, so that an eye finds its place again.</summary>
    private static string Base32(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder();
        int held = 0, bits = 0, written = 0;
        foreach (byte value in bytes)
        {
            held = ((held << 8) | value) & 0xFFFF;
            for (bits += 8; bits >= 5; bits -= 5)
            {
                Put((held >> (bits - 5)) & 31);
            }
        }

        if (bits > 0)
        {
            Put((held << (5 - bits)) & 31);
        }

        return text.ToString();

        void Put(int digit)
        {
            if (written > 0 && written % GroupCharacters == 0)
            {
                text.Append('-');
            }

            text.Append(Alphabet[digit]);
            written++;
        }
    }

    /// <summary>Null, with the character that is none of the alphabet's, or with 0 where the last one's spare bits are not 0.</summary>
    private static byte[]? TryBytes(ReadOnlySpan<char> text, out char wrong)
    {
        wrong = '\0';
        var bytes = new List<byte>(text.Length);
        int held = 0, bits = 0;
        foreach (char given in text)
        {
            char letter = char.ToLowerInvariant(given) switch { 'o' => '0', 'i' or 'l' => '1', char other => other };
            if (letter is '-' or ' ')
            {
                continue;
            }

            int digit = Alphabet.IndexOf(letter, StringComparison.Ordinal);
            if (digit < 0)
            {
                wrong = char.IsControl(given) ? '?' : given;
                return null;
            }

            held = ((held << 5) | digit) & 0xFFFF;
            bits += 5;
            if (bits >= 8)
            {
                bits -= 8;
                bytes.Add((byte)((held >> bits) & 0xFF));
            }
        }

        return bits < 5 && (held & ((1 << bits) - 1)) == 0 ? [.. bytes] : null;
    }
}
