namespace TokTok.Storage.Core;

/// <summary>The label by which an owner says where a machine or a disk is: a country's two capital letters, as ISO 3166-1 has them.</summary>
public static class CountryLabel
{
    public const int Size = 2;

    public static bool IsOne(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.Length == Size && text.All(static c => c is >= 'A' and <= 'Z');
    }
}
