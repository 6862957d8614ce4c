using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs peer audit [NAME]`: peers show pieces of what they keep, at places that they cannot foresee.</summary>
internal static class PeerAuditVerb
{
    /// <summary>Who dropped a tenth is caught with 99.9 %.</summary>
    private const int UsualCount = 64;
    private const int MaxCount = 100_000;

    internal static Verb Create(VerbContext context)
    {
        Argument<string?> name = new("name") { Description = "A peer, as `tdfs peer list` shows it; all of them unless one is named", Arity = ArgumentArity.ZeroOrOne };
        Option<int> count = new("--count") { Description = "How many pieces of 64 KiB each is asked for; 459 find out who dropped a hundredth", HelpName = "number", DefaultValueFactory = static _ => UsualCount };
        Verb audit = new("audit", "Asks peers for pieces of what they keep, at random, and checks them", "tdfs peer audit", "tdfs peer audit bob --count 459") { name, count };
        audit.Does(context, async (run, cancel) =>
        {
            int asked = run.Get(count);
            if (asked is < 1 or > MaxCount)
            {
                throw new UserError(ExitCode.Usage, $"found --count {asked}, expected 1 to {MaxCount}");
            }

            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                IReadOnlyList<AuditInfo> audits = await store.Audits.RunAsync(run.Get(name), asked, cancel).ConfigureAwait(false);
                run.Output.Result(
                    json =>
                    {
                        json.WriteStartArray("peers");
                        foreach (AuditInfo each in audits)
                        {
                            json.WriteStartObject();
                            json.WriteString("name", each.Name);
                            json.WriteNumber("passed", each.Passed);
                            json.WriteNumber("failed", each.Failed);
                            json.WriteNumber("unanswered", each.Unanswered);
                            Report.WriteEvidence(json, each.Evidence);
                            json.WriteEndObject();
                        }

                        json.WriteEndArray();
                    },
                    text =>
                    {
                        foreach (AuditInfo each in audits)
                        {
                            text.WriteLine($"{each.Name}: {Sentence(each)}");
                        }

                        if (audits.Count == 0)
                        {
                            text.WriteLine("no peer keeps anything for this store");
                        }
                    });
                return audits.Any(static each => each.Failed > 0) ? ExitCode.Damaged : audits.Any(static each => each.Unanswered > 0 || each.Passed == 0) ? ExitCode.Reported : ExitCode.Ok;
            }
        });
        return audit;
    }

    private static string Sentence(AuditInfo audit) => audit switch
    {
        { Failed: > 0 } => $"{audit.Failed} of {Show.Count(audit.Passed + audit.Failed, "audit")} FAILED: it does not have what it is to keep; `tdfs repair` mends it or places it elsewhere",
        { Unanswered: > 0 } => $"does not answer{(audit.Passed > 0 ? $" any more, after {Show.Count(audit.Passed, "audit")}" : "")}",
        { Passed: 0 } => "nothing could be asked: it is not there, or has nothing of this store",
        _ => $"{Show.Count(audit.Passed, "audit")} passed",
    };
}
