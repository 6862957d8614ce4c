using System.CommandLine;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs debug`: prints and checks any structure on disk.</summary>
internal static class DebugVerb
{
    internal static Verb Create(VerbContext context)
    {
        Argument<string?> structure = new("structure") { Description = "What to print; without it the structures are listed", Arity = ArgumentArity.ZeroOrOne };
        Argument<string?> name = new("name") { Description = "Which one (an arena's id, a volume); without it all", Arity = ArgumentArity.ZeroOrOne };
        Verb verb = new(
            "debug",
            "Prints and checks an on-disk structure, as docs/format.md describes it",
            "tdfs debug            # which structures there are",
            "tdfs debug catalog",
            "tdfs debug arenas 4f1c")
        {
            structure, name,
        };
        verb.Does(context, async (run, cancel) =>
        {
            IStoreSession store = await run.OpenAsync(StoreAccess.Read, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                if (run.Get(structure) is not string wanted)
                {
                    foreach (string known in store.Care.DebugStructures)
                    {
                        run.Output.Data.WriteLine(known);
                    }

                    run.Output.Data.Flush();
                    return ExitCode.Ok;
                }

                if (!store.Care.DebugStructures.Contains(wanted, StringComparer.Ordinal))
                {
                    throw new UserError(ExitCode.Usage, $"found the unknown structure '{wanted}', expected one of {string.Join(", ", store.Care.DebugStructures)}");
                }

                bool isWhole = await store.Care.DebugAsync(wanted, run.Get(name), run.Output.Data, cancel).ConfigureAwait(false);
                run.Output.Data.Flush();
                return isWhole ? ExitCode.Ok : ExitCode.Damaged;
            }
        });
        return verb;
    }
}
