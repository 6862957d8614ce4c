using TokTok.Storage.Blocks.Store;

namespace TokTok.Storage.Blocks.Placing;

/// <summary>In which countries anything of a store may lie, by the labels that its owner gives to holders; none named: anywhere.</summary>
/// <remarks>
/// A holder outside, or without a label, is treated as one that leaves: it is read, repair moves away what it has, and nothing new goes there; and <see cref="OutsideHolder"/> stands before it, so
/// that nothing can. Nobody checks where a machine really is: the label is its owner's word.
/// </remarks>
public sealed class CountryRule(IReadOnlyList<string> countries)
{
    public static CountryRule None { get; } = new([]);

    public IReadOnlyList<string> Countries => countries;

    public bool IsSet => countries.Count > 0;

    public bool Allows(string? country) => !IsSet || (country is not null && countries.Contains(country, StringComparer.Ordinal));

    /// <summary>The holders, those outside marked and behind their gate. One that was outside before and is not now comes out from behind it.</summary>
    public List<ConfiguredHolder> Apply(IEnumerable<ConfiguredHolder> holders) =>
    [
        .. holders.Select(holder => Allows(holder.Country)
            ? holder with { Holder = OutsideHolder.Behind(holder.Holder), IsOutside = false }
            : holder with { Holder = holder.Holder is null or OutsideHolder ? holder.Holder : new OutsideHolder(holder.Holder), IsOutside = true, IsLeaving = true }),
    ];

    /// <summary>" within DE, FR", or nothing where there is no rule.</summary>
    public override string ToString() => IsSet ? $" within {string.Join(", ", countries)}" : "";
}
