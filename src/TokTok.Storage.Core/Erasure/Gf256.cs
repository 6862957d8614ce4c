namespace TokTok.Storage.Core.Erasure;

/// <summary>The field of 256 elements over x^8 + x^4 + x^3 + x^2 + 1: addition is xor, 2 generates all but 0.</summary>
internal static class Gf256
{
    internal const int Polynomial = 0x11D;

    private static readonly byte[] s_exponential = new byte[2 * 255];
    private static readonly byte[] s_logarithm = new byte[256];

    static Gf256()
    {
        int value = 1;
        for (int power = 0; power < 255; power++)
        {
            s_exponential[power] = (byte)value;
            s_exponential[power + 255] = (byte)value;
            s_logarithm[value] = (byte)power;
            value <<= 1;
            value ^= (value & 0x100) != 0 ? Polynomial : 0;
        }
    }

    internal static byte Multiply(byte a, byte b) => a == 0 || b == 0 ? (byte)0 : s_exponential[s_logarithm[a] + s_logarithm[b]];

    /// <summary>The element that gives 1 with <paramref name="a"/>, which is not 0.</summary>
    internal static byte Invert(byte a) =>
        a == 0 ? throw new DivideByZeroException("0 has no inverse in GF(256).") : s_exponential[255 - s_logarithm[a]];

    /// <summary>The power of 2 that <paramref name="a"/> is, 0 to 254; a is not 0.</summary>
    internal static int Log(byte a) => a == 0 ? throw new ArgumentOutOfRangeException(nameof(a), "0 is no power of 2 in GF(256).") : s_logarithm[a];

    /// <summary>2 to a power of any sign.</summary>
    internal static byte PowerOfTwo(int power)
    {
        int rest = power % 255;
        return s_exponential[rest < 0 ? rest + 255 : rest];
    }
}
