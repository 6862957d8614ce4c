using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Text;
using TokTok.Storage.Core;
using TokTok.Storage.Core.Hashing;

namespace TokTok.Storage.Node.Lan;

/// <summary>The questions and answers by which those who know a node find it on their own network.</summary>
/// <remarks>
/// Format: docs/protocol.md 3.10. Source: RFC 1035 4.1 (messages), RFC 6762 (multicast DNS), RFC 6763 4.1 (names of services), RFC 2782 (SRV).
/// Big-endian, as DNS is. A reader takes at most <see cref="MaxBytes"/>, follows a compressed name backwards only, and allocates nothing for a length that it has not compared with what is there.
/// </remarks>
public static class LanMessage
{
    /// <summary>Longer than any message of ours; what is longer is not looked at.</summary>
    public const int MaxBytes = 1024;

    /// <summary>Questions, and records of a section, that are read at most.</summary>
    public const int MaxCount = 16;

    /// <summary>Hexadecimal digits of a name of the day.</summary>
    public const int LabelCharacters = 32;

    private const string NameContext = "tdfs 2026-11 lan name v1";
    private const int HeaderSize = 12;
    private const int MaxNameBytes = 255;
    private const int MaxLabelBytes = 63;
    private const ushort TypeA = 1;
    private const ushort TypeAaaa = 28;
    private const ushort TypeService = 33;
    private const ushort TypeAny = 255;
    private const ushort ClassInternet = 1;
    private const ushort ClassMask = 0x7FFF; // the top bit of a question's class asks for an answer by unicast, of a record's it says "forget others"
    private const ushort AnswerFlags = 0x8400; // a response, authoritative
    private const ushort ResponseBit = 0x8000;
    private const ushort OpcodeAndError = 0x780F;
    private const uint LegacySeconds = 10; // RFC 6762 6.7: for whoever asks from a port of its own

    private static readonly string[] s_service = ["_tdfs", "_tcp", "local"];

    /// <summary>What a device is called on its network for a day: noise to whoever does not know its key.</summary>
    public static string NameOf(Bytes32 deviceKey, uint day)
    {
        Span<byte> input = stackalloc byte[Bytes32.Size + sizeof(uint)];
        Span<byte> hash = stackalloc byte[Blake3.HashSize];
        deviceKey.Write(input);
        BinaryPrimitives.WriteUInt32LittleEndian(input[Bytes32.Size..], day);
        Blake3.DeriveKey(NameContext, input, hash);
        return Convert.ToHexStringLower(hash[..(LabelCharacters / 2)]);
    }

    public static uint DayOf(TimeProvider clock)
    {
        ArgumentNullException.ThrowIfNull(clock);
        return (uint)Math.Max(0, clock.GetUtcNow().ToUnixTimeSeconds() / 86_400);
    }

    /// <summary>Asks where these are.</summary>
    public static byte[] Query(ushort id, IReadOnlyList<string> names)
    {
        ArgumentNullException.ThrowIfNull(names);
        var writer = new Writer();
        writer.Header(id, 0, (ushort)names.Count, 0, 0);
        foreach (string name in names)
        {
            writer.Name(name, s_service);
            writer.U16(TypeService);
            writer.U16(ClassInternet | 0x8000);
        }

        return writer.ToArray();
    }

    /// <summary>Says that what is called so listens at a port of an address.</summary>
    public static byte[] Answer(ushort id, string name, ushort port, IPAddress address)
    {
        ArgumentNullException.ThrowIfNull(address);
        var writer = new Writer();
        writer.Header(id, AnswerFlags, 1, 1, 1);
        writer.Name(name, s_service);
        writer.U16(TypeService);
        writer.U16(ClassInternet);
        writer.Name(name, s_service);
        writer.Record(TypeService, LegacySeconds, data =>
        {
            data.U16(0); // priority
            data.U16(0); // weight
            data.U16(port);
            data.Name(name, ["local"]);
        });
        writer.Name(name, ["local"]);
        byte[] bytes = address.GetAddressBytes();
        writer.Record(bytes.Length == 4 ? TypeA : TypeAaaa, LegacySeconds, data => data.Bytes(bytes));
        return writer.ToArray();
    }

    /// <summary>What of ours a message asks for. False: it is no question, or none for a node.</summary>
    public static bool TryReadQuery(ReadOnlySpan<byte> message, out ushort id, out IReadOnlyList<string> names)
    {
        names = [];
        var reader = new Reader(message);
        if (!reader.TryHeader(out id, out ushort flags, out int questions, out _) || (flags & (ResponseBit | OpcodeAndError)) != 0 || questions == 0)
        {
            return false;
        }

        var found = new List<string>();
        for (int i = 0; i < questions; i++)
        {
            if (!reader.TryName(out string? name) || !reader.TryU16(out ushort type) || !reader.TryU16(out ushort kind))
            {
                return false;
            }

            if (name is not null && type is TypeService or TypeAny && (kind & ClassMask) is ClassInternet or TypeAny && !found.Contains(name!))
            {
                found.Add(name!);
            }
        }

        names = found;
        return found.Count > 0;
    }

    /// <summary>Where a message says that something of ours listens. False: it is no answer to the question, or says nothing of a node.</summary>
    public static bool TryReadAnswer(ReadOnlySpan<byte> message, ushort id, out string name, out ushort port)
    {
        name = "";
        port = 0;
        var reader = new Reader(message);
        if (!reader.TryHeader(out ushort answered, out ushort flags, out int questions, out int records) || answered != id || (flags & ResponseBit) == 0 || (flags & OpcodeAndError) != 0)
        {
            return false;
        }

        for (int i = 0; i < questions; i++)
        {
            if (!reader.TryName(out _) || !reader.TrySkip(4))
            {
                return false;
            }
        }

        for (int i = 0; i < records; i++)
        {
            if (!reader.TryName(out string? owner) || !reader.TryU16(out ushort type) || !reader.TryU16(out ushort kind) || !reader.TrySkip(4) || !reader.TryU16(out ushort length) || length > reader.Remaining)
            {
                return false;
            }

            if (owner is not null && type == TypeService && (kind & ClassMask) == ClassInternet && length > 6)
            {
                _ = reader.TrySkip(4);
                _ = reader.TryU16(out port);
                name = owner;
                return port != 0;
            }

            _ = reader.TrySkip(length);
        }

        return false;
    }

    private sealed class Writer
    {
        private readonly List<byte> _bytes = [];

        internal void Header(ushort id, ushort flags, ushort questions, ushort answers, ushort additional)
        {
            U16(id);
            U16(flags);
            U16(questions);
            U16(answers);
            U16(0);
            U16(additional);
        }

        internal void Name(string first, string[] rest)
        {
            foreach (string label in (string[])[first, .. rest])
            {
                _bytes.Add((byte)label.Length);
                _bytes.AddRange(Encoding.ASCII.GetBytes(label));
            }

            _bytes.Add(0);
        }

        internal void Record(ushort type, uint seconds, Action<Writer> data)
        {
            var inner = new Writer();
            data(inner);
            byte[] bytes = inner.ToArray();
            U16(type);
            U16(ClassInternet);
            U16((ushort)(seconds >> 16));
            U16((ushort)seconds);
            U16((ushort)bytes.Length);
            Bytes(bytes);
        }

        internal void U16(ushort value)
        {
            _bytes.Add((byte)(value >> 8));
            _bytes.Add((byte)(value & 0xFF));
        }

        internal void Bytes(byte[] bytes) => _bytes.AddRange(bytes);

        internal byte[] ToArray() => [.. _bytes];
    }

    private ref struct Reader(ReadOnlySpan<byte> message)
    {
        private readonly ReadOnlySpan<byte> _message = message;
        private int _at;

        internal readonly int Remaining => _message.Length - _at;

        internal bool TryHeader(out ushort id, out ushort flags, out int questions, out int records)
        {
            id = flags = 0;
            questions = records = 0;
            if (_message.Length is < HeaderSize or > MaxBytes)
            {
                return false;
            }

            _ = TryU16(out id);
            _ = TryU16(out flags);
            _ = TryU16(out ushort asked);
            _ = TryU16(out ushort answers);
            _ = TryU16(out ushort authorities);
            _ = TryU16(out ushort additional);
            questions = asked;
            records = answers + authorities + additional;
            return questions <= MaxCount && records <= 3 * MaxCount;
        }

        internal bool TryU16(out ushort value)
        {
            value = Remaining < 2 ? (ushort)0 : BinaryPrimitives.ReadUInt16BigEndian(_message[_at..]);
            return TrySkip(2);
        }

        internal bool TrySkip(int bytes)
        {
            if (bytes > Remaining)
            {
                return false;
            }

            _at += bytes;
            return true;
        }

        /// <summary>Reads a name, and says what of ours it is: a name of the day before our service; else null.</summary>
        internal bool TryName(out string? ours)
        {
            ours = null;
            int at = _at;
            int lowest = _at; // a pointer leads to before all that was read of the name: so it ends
            bool hasJumped = false;
            int count = 0;
            int bytes = 0;
            bool isOurs = true;
            string first = "";
            while (true)
            {
                if (at >= _message.Length)
                {
                    return false;
                }

                int length = _message[at++];
                if (length == 0)
                {
                    break;
                }

                if ((length & 0xC0) == 0xC0)
                {
                    if (at >= _message.Length)
                    {
                        return false;
                    }

                    int target = ((length & 0x3F) << 8) | _message[at++];
                    _at = hasJumped ? _at : at;
                    hasJumped = true;
                    if (target >= lowest || target < HeaderSize)
                    {
                        return false;
                    }

                    at = lowest = target;
                    continue;
                }

                bytes += 1 + length;
                if (length > MaxLabelBytes || bytes >= MaxNameBytes || length > _message.Length - at)
                {
                    return false;
                }

                ReadOnlySpan<byte> label = _message.Slice(at, length);
                at += length;
                if (count == 0)
                {
                    isOurs = length == LabelCharacters && IsHex(label);
                    first = isOurs ? Encoding.ASCII.GetString(label).ToLower(CultureInfo.InvariantCulture) : "";
                }
                else
                {
                    isOurs = isOurs && count <= s_service.Length && Ascii.EqualsIgnoreCase(label, s_service[count - 1]);
                }

                count++;
            }

            _at = hasJumped ? _at : at;
            ours = isOurs && count == 1 + s_service.Length ? first : null;
            return true;
        }

        private static bool IsHex(ReadOnlySpan<byte> label)
        {
            foreach (byte c in label)
            {
                if (!char.IsAsciiHexDigit((char)c))
                {
                    return false;
                }
            }

            return true;
        }
    }
}
