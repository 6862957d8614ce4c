using System.Text.Json;
using TokTok.Storage.Node.Audit;
using TokTok.Storage.Tdfs.Facades;
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

    /// <summary>How much of what peers say they have shown, in a sentence.</summary>
    internal static string Evidence(StoreEvidence evidence, TimeProvider clock) =>
        evidence.ProvenAtSeconds > 0
            ? $"{(evidence.PeerCount == 1 ? "the peer" : $"all {evidence.PeerCount} peers")} proved to have what was asked for at random, verified {Show.Ago(evidence.ProvenAtSeconds, clock)}"
            : $"{evidence.ProvenCount} of {Show.Count(evidence.PeerCount, "peer")} proved to have what was asked for at random, `tdfs peer audit` asks";

    internal static void WriteEvidence(Utf8JsonWriter json, StoreEvidence evidence)
    {
        if (evidence.PeerCount > 0)
        {
            json.WriteNumber("peers", evidence.PeerCount);
            json.WriteNumber("provenPeers", evidence.ProvenCount);
            json.WriteString("proven", evidence.ProvenAtSeconds > 0 ? Show.IsoTime(evidence.ProvenAtSeconds * 1_000_000_000) : null);
        }
    }

    internal static string Standing(HolderStanding standing) => standing switch { HolderStanding.Lost => "lost", HolderStanding.Late => "late", _ => "good" };

    internal static void WriteEvidence(Utf8JsonWriter json, PeerEvidence evidence)
    {
        json.WriteString("standing", Standing(evidence.Standing));
        json.WriteNumber("auditsPassed", evidence.Passed);
        json.WriteNumber("auditsFailed", evidence.Failed);
        json.WriteNumber("truth", Math.Round(evidence.TruthPercent, 2));
        json.WriteNumber("uptime", Math.Round(evidence.UptimePercent, 2));
        WriteTime(json, "heard", evidence.HeardAtSeconds);
        WriteTime(json, "proven", evidence.ProvenAtSeconds);
    }

    private static void WriteTime(Utf8JsonWriter json, string name, long seconds) => json.WriteString(name, seconds > 0 ? Show.IsoTime(seconds * 1_000_000_000) : null);

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
