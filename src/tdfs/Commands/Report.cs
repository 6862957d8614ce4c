using System.Text.Json;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>What several verbs tell alike.</summary>
internal static class Report
{
    /// <summary>Problems on stderr, one line each; with --json they stand in the object already. True when there are any.</summary>
    internal static bool Problems(CommandOutput output, IReadOnlyList<string> problems)
    {
        foreach (string problem in output.IsJson ? [] : problems)
        {
            output.Talk.WriteLine("tdfs: " + TerminalText.Clean(problem));
        }

        return problems.Count > 0;
    }

    internal static void WriteList(Utf8JsonWriter json, string name, IReadOnlyList<string> lines)
    {
        json.WriteStartArray(name);
        foreach (string line in lines)
        {
            json.WriteStringValue(line);
        }

        json.WriteEndArray();
    }
}
