using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>All verbs, and how a line of words becomes an exit code.</summary>
internal static class CommandTree
{
    internal static RootCommand Build(VerbContext context)
    {
        RootCommand root = new("TDFS keeps versioned, encrypted, deduplicated copies of your files that survive damage.");
        foreach (Option option in context.Globals.All)
        {
            root.Add(option);
        }

        foreach (Verb verb in Verbs(context))
        {
            root.Add(verb);
        }

        foreach (HelpOption help in root.Options.OfType<HelpOption>())
        {
            help.Action = new HelpWithExamples((HelpAction)help.Action!);
        }

        return root;
    }

    internal static async Task<int> RunAsync(VerbContext context, string[] words, CancellationToken cancel)
    {
        int code = await RunUnloggedAsync(context, words, cancel).ConfigureAwait(false);
        context.Log?.End((ExitCode)code);
        return code;
    }

    private static async Task<int> RunUnloggedAsync(VerbContext context, string[] words, CancellationToken cancel)
    {
        bool isDebug = context.Environment("TDFS_DEBUG") == "1";
        try
        {
            ParseResult parsed = Build(context).Parse(words);
            InvocationConfiguration configuration = new()
            {
                Output = context.Output.Data,
                Error = context.Output.Talk,
                EnableDefaultExceptionHandler = false,
                // Ctrl-C is Program's: it cancels, and the verb ends in order.
                ProcessTerminationTimeout = null,
            };
            if (parsed.Errors.Count > 0 && parsed.Action is not { ClearsParseErrors: true })
            {
                throw Explain(parsed);
            }

            if (parsed.Action is not { ClearsParseErrors: true })
            {
                RefuseOptionAsArgument(parsed);
            }

            return await parsed.InvokeAsync(configuration, cancel).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            return ErrorHandler.Report(e, context.Output.Talk, isDebug);
        }
    }

    /// <summary>An argument that may be left out takes a mistyped option: a word of two dashes is one only behind a "--".</summary>
    private static void RefuseOptionAsArgument(ParseResult parsed)
    {
        if (parsed.Tokens.Any(static token => token.Type == TokenType.DoubleDash))
        {
            return;
        }

        foreach (Token token in parsed.CommandResult.Children.OfType<ArgumentResult>().SelectMany(static argument => argument.Tokens))
        {
            if (token.Value.StartsWith("--", StringComparison.Ordinal))
            {
                throw new UserError(
                    ExitCode.Usage, $"found the unknown option '{token.Value}', expected one that `tdfs {NameOf(parsed.CommandResult)} --help` lists; a name that begins so stands behind \"--\"");
            }
        }
    }

    /// <summary>The verb as it is typed: "agent status".</summary>
    private static string NameOf(CommandResult result) =>
        result.Parent is CommandResult { Command: Verb } above ? $"{NameOf(above)} {result.Command.Name}" : result.Command.Name;

    private static UserError Explain(ParseResult parsed)
    {
        string trouble = parsed.Errors[0].Message.TrimEnd('.');
        if (parsed.CommandResult.Command is not Verb verb)
        {
            if (parsed.UnmatchedTokens.Count > 0)
            {
                string word = parsed.UnmatchedTokens[0];
                string? near = Config.NearestName.Find(word, parsed.CommandResult.Command.Subcommands.Select(c => c.Name));
                trouble = $"found '{word}', expected a verb" + (near is null ? "" : $", was '{near}' meant");
            }

            return new UserError(ExitCode.Usage, trouble + "; `tdfs --help` lists what there is");
        }

        if (verb.Subcommands.Count > 0 && parsed.UnmatchedTokens.Count > 0)
        {
            trouble = $"found '{parsed.UnmatchedTokens[0]}', expected {string.Join(", ", verb.Subcommands.Where(static sub => !sub.Hidden).Select(static sub => sub.Name))}";
        }

        return new UserError(ExitCode.Usage, $"{trouble}; `tdfs {NameOf(parsed.CommandResult)} --help` shows how it is used");
    }

    private static IEnumerable<Verb> Verbs(VerbContext context)
    {
        if (context.Host is not null)
        {
            yield return InitVerb.Create(context);
            yield return ImportVerb.Create(context);
            yield return SnapshotsVerb.Create(context);
            yield return LogVerb.Create(context);
            yield return LsVerb.Create(context);
            yield return CatVerb.Create(context);
            yield return DiffVerb.Create(context);
            yield return RestoreVerb.Create(context);
            yield return ForgetVerb.Create(context);
            yield return ReclaimVerb.Create(context);
            yield return CheckVerb.Create(context);
            yield return RepairVerb.Create(context);
            yield return ReindexVerb.Create(context);
            yield return RecoverVerb.Create(context);
            yield return RedundancyVerb.Create(context);
            yield return HealthVerb.Create(context);
            yield return StatusVerb.Create(context);
            yield return DebugVerb.Create(context);
        }

        yield return AgentVerb.Create(context);
        yield return CompletionVerb.Create(context);
    }
}
