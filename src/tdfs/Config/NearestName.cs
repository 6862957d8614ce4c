namespace TokTok.Storage.Tdfs.Config;

/// <summary>Suggests the known name that a mistyped one most likely meant.</summary>
/// <remarks>Source: optimal string alignment distance (Damerau 1964, restricted): insertions, deletions, changes and swaps of neighbours count one.</remarks>
internal static class NearestName
{
    /// <summary>The nearest of <paramref name="known"/>, or null when none is within a third of the name's length (at least 2 steps).</summary>
    internal static string? Find(string name, IEnumerable<string> known)
    {
        const int MaxNameLength = 64;
        if (name.Length > MaxNameLength)
        {
            return null;
        }

        int limit = Math.Max(2, name.Length / 3);
        return known
            .Select(candidate => (Name: candidate, Steps: Distance(name, candidate)))
            .Where(pair => pair.Steps <= limit && pair.Steps < Math.Max(name.Length, pair.Name.Length))
            .OrderBy(pair => pair.Steps)
            .ThenBy(pair => pair.Name, StringComparer.Ordinal)
            .Select(pair => pair.Name)
            .FirstOrDefault();
    }

    internal static int Distance(string a, string b)
    {
        // Rows of the table: the one being filled and the two before it, which a swap looks back to.
        int[] before = new int[b.Length + 1];
        int[] above = [.. Enumerable.Range(0, b.Length + 1)];
        int[] row = new int[b.Length + 1];
        for (int i = 1; i <= a.Length; i++)
        {
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int change = a[i - 1] == b[j - 1] ? 0 : 1;
                int best = Math.Min(Math.Min(above[j] + 1, row[j - 1] + 1), above[j - 1] + change);
                bool isSwap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                row[j] = isSwap ? Math.Min(best, before[j - 2] + 1) : best;
            }

            (before, above, row) = (above, row, before);
        }

        return above[b.Length];
    }
}
