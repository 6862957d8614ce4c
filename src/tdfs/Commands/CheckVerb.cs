using System.CommandLine;
using System.Text.Json;
using TokTok.Storage.Tdfs.Facades;
using TokTok.Storage.Tdfs.Output;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs check`: whether everything is where and what it should be. Changes nothing.</summary>
internal static class CheckVerb
{
    internal static Verb Create(VerbContext context)
    {
        Option<bool> readAll = new("--read-all") { Description = "Read every byte of every fragment, not only structures and names" };
        Verb verb = new(
            "check",
            "Looks for damage and names it; `tdfs repair` mends it",
            "tdfs check",
            "tdfs check --read-all --json")
        {
            readAll,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                using ProgressWriter progress = run.Output.StartProgress();
                CheckResult result = await store.Care.CheckAsync(run.Get(readAll), progress, cancel).ConfigureAwait(false);
                progress.Dispose();
                run.Output.Result(json => WriteResult(json, result), text => WriteResult(text, result));
                return result.IsClean ? ExitCode.Ok : ExitCode.Damaged;
            }
        });
        return verb;
    }

    internal static void WriteResult(Utf8JsonWriter json, CheckResult result)
    {
        json.WriteBoolean("clean", result.IsClean);
        json.WriteNumber("arenas", result.ArenaCount);
        json.WriteNumber("fragments", result.FragmentCount);
        json.WriteNumber("blocks", result.BlockCount);
        json.WriteNumber("readBytes", result.ReadBytes);
        Report.WriteList(json, "damaged", result.Damaged);
        Report.WriteList(json, "unreadablePaths", result.UnreadablePaths);
    }

    internal static void WriteResult(TextWriter text, CheckResult result)
    {
        foreach (string damage in result.Damaged)
        {
            text.WriteLine("damaged: " + TerminalText.Clean(damage));
        }

        foreach (string path in result.UnreadablePaths)
        {
            text.WriteLine("unreadable: " + path);
        }

        text.WriteLine(
            $"{(result.IsClean ? "clean" : "NOT clean")}: {Show.Count(result.ArenaCount, "arena")}, {Show.Count(result.FragmentCount, "fragment")}, "
            + $"{Show.Count(result.BlockCount, "block")}, {Show.Size(result.ReadBytes)} read");
    }
}
