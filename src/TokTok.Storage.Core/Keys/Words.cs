using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace TokTok.Storage.Core.Keys;

/// <summary>The 24 words that are an account: 256 random bits and an 8-bit checksum, 11 bits a word.</summary>
/// <remarks>Format: docs/format.md 3.1. Source: BIP-39, English list (python-mnemonic, MIT, copyright 2013-2014 Pavol Rusnak); its PBKDF2 step is not used.
/// Reading is tolerant: any case, any white space, and the first four letters of a word, which are unique in the list.
/// No string of the words is made, since nothing clears a string: they are written into, and read from, memory that its owner zeroes.</remarks>
public static class Words
{
    public const int Count = 24, EntropySize = 32;

    /// <summary>The longest that 24 words and the spaces between them can be.</summary>
    public const int MaxTextBytes = (Count * MaxLetters) + Count - 1;

    private const int ListLength = 2048, BitsPerWord = 11, PrefixLetters = 4, MaxLetters = 8;

    private static readonly string[] s_list = ReadList();

    /// <summary>Writes the 24 words in ASCII, lower case, one space between, and returns how many bytes they are.</summary>
    /// <param name="text">At least <see cref="MaxTextBytes"/> long.</param>
    public static int Write(ReadOnlySpan<byte> entropy, Span<byte> text)
    {
        if (entropy.Length != EntropySize)
        {
            throw new ArgumentException($"The words carry {EntropySize} bytes, not {entropy.Length}.", nameof(entropy));
        }

        if (text.Length < MaxTextBytes)
        {
            throw new ArgumentException($"The words need room for {MaxTextBytes} bytes, there is room for {text.Length}.", nameof(text));
        }

        Span<byte> bits = stackalloc byte[EntropySize + 1];
        entropy.CopyTo(bits);
        bits[EntropySize] = Checksum(entropy);
        int written = 0;
        for (int word = 0; word < Count; word++)
        {
            int index = 0;
            for (int bit = word * BitsPerWord; bit < (word + 1) * BitsPerWord; bit++)
            {
                index = index << 1 | bits[bit / 8] >> (7 - bit % 8) & 1;
            }

            if (word > 0)
            {
                text[written++] = (byte)' ';
            }

            written += Encoding.ASCII.GetBytes(s_list[index], text[written..]);
        }

        CryptographicOperations.ZeroMemory(bits);
        return written;
    }

    /// <summary>Reads 24 words into 32 bytes. False with one line that says what to look at; entropy is zeroed then.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, Span<byte> entropy, [NotNullWhen(false)] out string? error)
    {
        if (entropy.Length != EntropySize)
        {
            throw new ArgumentException($"The words carry {EntropySize} bytes, not {entropy.Length}.", nameof(entropy));
        }

        entropy.Clear();
        Span<byte> bits = stackalloc byte[EntropySize + 1];
        bits.Clear();
        Span<char> lower = stackalloc char[16];
        int count = 0;
        error = null;
        for (ReadOnlySpan<char> rest = text.Trim(); !rest.IsEmpty; count++)
        {
            int end = 0;
            while (end < rest.Length && !char.IsWhiteSpace(rest[end]))
            {
                end++;
            }

            ReadOnlySpan<char> word = rest[..end];
            rest = rest[end..].TrimStart();
            if (count >= Count || error is not null)
            {
                continue;
            }

            int index = word.Length <= lower.Length ? Find(lower[..word.ToLowerInvariant(lower)]) : -1;
            if (index < 0)
            {
                error = string.Create(CultureInfo.InvariantCulture, $"Word {count + 1}, '{Shown(word)}', is not in the list; did you mean '{Nearest(word)}'?");
                continue;
            }

            for (int bit = 0; bit < BitsPerWord; bit++)
            {
                int at = count * BitsPerWord + bit;
                bits[at / 8] |= (byte)((index >> (BitsPerWord - 1 - bit) & 1) << (7 - at % 8));
            }
        }

        lower.Clear();
        if (count != Count)
        {
            error = string.Create(CultureInfo.InvariantCulture, $"{Count} words are expected, {count} were given.");
        }
        else if (error is null && bits[EntropySize] != Checksum(bits[..EntropySize]))
        {
            error = "The words are all in the list but their checksum is wrong: one is mistaken, or two are swapped.";
        }

        if (error is null)
        {
            bits[..EntropySize].CopyTo(entropy);
        }

        CryptographicOperations.ZeroMemory(bits);
        return error is null;
    }

    private static byte Checksum(ReadOnlySpan<byte> entropy)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(entropy, hash);
        return hash[0];
    }

    /// <summary>The index of a whole word or of a prefix of at least four letters; the list is sorted.</summary>
    private static int Find(ReadOnlySpan<char> word)
    {
        int low = 0, high = s_list.Length;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (s_list[middle].AsSpan().SequenceCompareTo(word) < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        bool found = low < s_list.Length && s_list[low].AsSpan().StartsWith(word, StringComparison.Ordinal)
            && (word.Length == s_list[low].Length || word.Length >= PrefixLetters);
        return found ? low : -1;
    }

    private static string Nearest(ReadOnlySpan<char> word)
    {
        string lower = word[..Math.Min(word.Length, 16)].ToString().ToLowerInvariant();
        return s_list.MinBy(candidate => Distance(candidate, lower))!;
    }

    /// <summary>Levenshtein distance, two rows.</summary>
    private static int Distance(string left, string right)
    {
        Span<int> previous = stackalloc int[right.Length + 1], current = stackalloc int[right.Length + 1];
        for (int j = 0; j <= right.Length; j++)
        {
            previous[j] = j;
        }

        for (int i = 1; i <= left.Length; i++)
        {
            current[0] = i;
            for (int j = 1; j <= right.Length; j++)
            {
                int swap = previous[j - 1] + (left[i - 1] == right[j - 1] ? 0 : 1);
                current[j] = Math.Min(swap, 1 + Math.Min(previous[j], current[j - 1]));
            }

            current.CopyTo(previous);
        }

        return previous[right.Length];
    }

    private static string Shown(ReadOnlySpan<char> word)
    {
        var shown = new StringBuilder();
        foreach (char c in word[..Math.Min(word.Length, 16)])
        {
            shown.Append(char.IsLetterOrDigit(c) || char.IsPunctuation(c) ? c : '?');
        }

        return shown.ToString();
    }

    private static string[] ReadList()
    {
        using Stream stream = typeof(Words).Assembly.GetManifestResourceStream("TokTok.Storage.Core.Keys.english.txt")
            ?? throw new InvalidDataException("The word list is missing from the program.");
        using var reader = new StreamReader(stream, Encoding.ASCII);
        string[] list = reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return list.Length == ListLength ? list : throw new InvalidDataException($"The word list has {list.Length} words, {ListLength} expected.");
    }
}
