using System.Buffers;
using System.Text;

namespace TokTok.Storage.WebDav;

/// <summary>Markup written as UTF-8 into a rented buffer, one page of an answer at a time.</summary>
/// <remarks>Owns the buffer. What is text is escaped; what XML cannot say, such as control characters, becomes U+FFFD.</remarks>
internal sealed class Utf8Xml : IDisposable
{
    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(32 * 1024);

    internal int Length { get; private set; }

    internal ReadOnlyMemory<byte> Written => _buffer.AsMemory(0, Length);

    internal void Clear() => Length = 0;

    internal Utf8Xml Raw(ReadOnlySpan<byte> markup)
    {
        markup.CopyTo(Room(markup.Length));
        Length += markup.Length;
        return this;
    }

    internal Utf8Xml Raw(string markup)
    {
        Length += Encoding.UTF8.GetBytes(markup, Room(Encoding.UTF8.GetMaxByteCount(markup.Length)));
        return this;
    }

    internal Utf8Xml Text(ReadOnlySpan<byte> text) => Text(Encoding.UTF8.GetString(text));

    internal Utf8Xml Text(string text)
    {
        Span<byte> rune = stackalloc byte[4];
        foreach (Rune letter in text.EnumerateRunes())
        {
            switch (letter.Value)
            {
                case '<':
                    Raw("&lt;"u8);
                    break;
                case '>':
                    Raw("&gt;"u8);
                    break;
                case '&':
                    Raw("&amp;"u8);
                    break;
                case '"':
                    Raw("&quot;"u8);
                    break;
                case '\'':
                    Raw("&#39;"u8);
                    break;
                case '\r':
                    Raw("&#13;"u8);
                    break;
                case (< ' ' and not ('\t' or '\n')) or 0xfffe or 0xffff:
                    Raw("\uFFFD"u8);
                    break;
                default:
                    Raw(rune[..letter.EncodeToUtf8(rune)]);
                    break;
            }
        }

        return this;
    }

    public void Dispose()
    {
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
        Length = 0;
    }

    private Span<byte> Room(int bytes)
    {
        if (_buffer.Length - Length < bytes)
        {
            byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Max(2 * _buffer.Length, Length + bytes));
            _buffer.AsSpan(0, Length).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_buffer);
            _buffer = larger;
        }

        return _buffer.AsSpan(Length);
    }
}
