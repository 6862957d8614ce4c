using System.Buffers.Binary;
using System.Text.Json;

namespace TokTok.Storage.Tdfs.Node;

internal enum NodeFrameKind : byte
{
    /// <summary>To the node, first and once: the line to run.</summary>
    Run = 1,

    /// <summary>To the node: end in order, as Ctrl-C does.</summary>
    Cancel = 2,

    /// <summary>From the node: bytes for stdout.</summary>
    Data = 3,

    /// <summary>From the node: bytes for stderr.</summary>
    Talk = 4,

    /// <summary>From the node, last: the exit code, one byte.</summary>
    Exit = 5,
}

/// <summary>The frames between a verb and a running node.</summary>
/// <remarks>Format: docs/protocol.md 2: length of the payload (u32, little-endian), kind (byte), payload.</remarks>
internal static class NodeFrame
{
    internal const int MaxBytes = 1 << 20;
    internal const int HeaderBytes = sizeof(uint) + 1;

    internal static async ValueTask WriteAsync(Stream stream, NodeFrameKind kind, ReadOnlyMemory<byte> payload, CancellationToken cancel)
    {
        byte[] frame = new byte[HeaderBytes + payload.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(frame, (uint)payload.Length);
        frame[sizeof(uint)] = (byte)kind;
        payload.CopyTo(frame.AsMemory(HeaderBytes));
        await stream.WriteAsync(frame, cancel).ConfigureAwait(false);
    }

    /// <summary>The next frame; null: the other end closed between two.</summary>
    /// <exception cref="InvalidDataException">What came is no frame.</exception>
    internal static async ValueTask<(NodeFrameKind Kind, byte[] Payload)?> ReadAsync(Stream stream, CancellationToken cancel)
    {
        byte[] header = new byte[HeaderBytes];
        int got = await stream.ReadAtLeastAsync(header, HeaderBytes, throwOnEndOfStream: false, cancel).ConfigureAwait(false);
        if (got == 0)
        {
            return null;
        }

        uint length = BinaryPrimitives.ReadUInt32LittleEndian(header);
        if (got < HeaderBytes || length > MaxBytes || header[sizeof(uint)] is 0 or > (byte)NodeFrameKind.Exit)
        {
            throw new InvalidDataException($"found {got} bytes of a frame of {length} bytes, expected at most {MaxBytes}");
        }

        byte[] payload = new byte[length];
        return await stream.ReadAtLeastAsync(payload, payload.Length, throwOnEndOfStream: false, cancel).ConfigureAwait(false) == payload.Length
            ? ((NodeFrameKind)header[sizeof(uint)], payload)
            : throw new InvalidDataException($"the connection ended within a frame of {length} bytes");
    }
}

/// <summary>A line of words to run in the node, and what it is to know of whoever typed it.</summary>
/// <param name="Folder">What relative paths count from.</param>
/// <param name="Width">Columns of the terminal that stderr is; null: it is none.</param>
internal sealed record NodeLine(IReadOnlyList<string> Words, string Folder, int? Width)
{
    private const int MaxWords = 10_000;

    internal byte[] Encode()
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteNumber("version", 1);
            json.WriteStartArray("words");
            foreach (string word in Words)
            {
                json.WriteStringValue(word);
            }

            json.WriteEndArray();
            json.WriteString("folder", Folder);
            if (Width is int width)
            {
                json.WriteNumber("width", width);
            }

            json.WriteEndObject();
        }

        return bytes.ToArray();
    }

    /// <exception cref="InvalidDataException">It is no line of this version.</exception>
    internal static NodeLine Decode(ReadOnlyMemory<byte> payload)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(payload);
            JsonElement root = json.RootElement;
            if (root.GetProperty("version").GetInt32() != 1 || root.GetProperty("words").GetArrayLength() > MaxWords || root.GetProperty("folder").GetString() is not ['/', ..] folder)
            {
                throw new InvalidDataException("found a line of another version, expected version 1");
            }

            string[] words = [.. root.GetProperty("words").EnumerateArray().Select(static word => word.GetString() ?? throw new InvalidDataException("found null, expected a word"))];
            return new NodeLine(words, folder, root.TryGetProperty("width", out JsonElement width) ? Math.Clamp(width.GetInt32(), 20, 10_000) : null);
        }
        catch (Exception bad) when (bad is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"found something else, expected a line to run: {bad.Message}", bad);
        }
    }
}
