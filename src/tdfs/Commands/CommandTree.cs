using System.CommandLine;
using System.CommandLine.Completions;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using System.Globalization;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>All verbs, and how a line of words becomes an exit code.</summary>
internal static class CommandTree
{
    private static readonly (string Name, Func<VerbContext, Verb> Create)[] s_verbs =
    [
        ("init", InitVerb.Create),
        ("import", ImportVerb.Create),
        ("snapshot", SnapshotVerb.Create),
        ("snapshots", SnapshotsVerb.Create),
        ("log", LogVerb.Create),
        ("ls", LsVerb.Create),
        ("cat", CatVerb.Create),
        ("diff", DiffVerb.Create),
        ("restore", RestoreVerb.Create),
        ("mark", MarkVerb.Create),
        ("rollback", RollBackVerb.Create),
        ("forget", ForgetVerb.Create),
        ("volume", VolumeVerb.Create),
        ("mount", MountVerb.Create),
        ("webdav", WebDavVerb.Create),
        ("up", UpVerb.Create),
        ("node", NodeVerb.Create),
        ("peer", PeerVerb.Create),
        ("device", DeviceVerb.Create),
        ("reclaim", ReclaimVerb.Create),
        ("check", CheckVerb.Create),
        ("repair", RepairVerb.Create),
        ("reindex", ReindexVerb.Create),
        ("recover", RecoverVerb.Create),
        ("redundancy", RedundancyVerb.Create),
        ("health", HealthVerb.Create),
        ("free", FreeVerb.Create),
        ("status", StatusVerb.Create),
        ("debug", DebugVerb.Create),
        ("agent", AgentVerb.Create),
        ("completion", CompletionVerb.Create),
    ];

    /// <summary>"@x" is the word "@x": a file that lies in the current folder must not give options.</summary>
    private static readonly ParserConfiguration s_parser = new() { ResponseFileTokenReplacer = null };

    /// <summary>What there is where nothing composes a store.</summary>
    private static readonly string[] s_needNoStore = ["agent", "completion"];

    /// <param name="only">The one verb that the line asks for, or null for all: making twenty is a tenth of a short command's time.</param>
    internal static RootCommand Build(VerbContext context, string? only = null)
    {
        RootCommand root = new("TDFS keeps versioned, encrypted, deduplicated copies of your files that survive damage.");
        foreach (Option option in context.Globals.All)
        {
            root.Add(option);
        }

        foreach ((string name, Func<VerbContext, Verb> create) in s_verbs)
        {
            if ((only is null || only == name) && (context.Host is not null || s_needNoStore.Contains(name)))
            {
                root.Add(create(context));
            }
        }

        foreach (SuggestDirective suggest in root.Directives.OfType<SuggestDirective>())
        {
            suggest.Action = new SuggestWords(suggest, s_parser);
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
            ParseResult parsed = Parse(context, words);
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

            int code;
            try
            {
                code = await parsed.InvokeAsync(configuration, cancel).ConfigureAwait(false);
            }
            catch (Node.NodeAnswersException running)
            {
                using Node.NodeClient node = running.Node;
                return await node.RunAsync(words, context.Output, cancel).ConfigureAwait(false);
            }

            await context.Output.Data.FlushAsync(CancellationToken.None).ConfigureAwait(false); // help is written by whoever prints it and left in the buffer
            return code;
        }
        catch (Exception e)
        {
            int code = ErrorHandler.Report(e, context.Output.Talk, isDebug);
            try
            {
                await context.Output.Data.FlushAsync(CancellationToken.None).ConfigureAwait(false);
            }
            catch (UserError)
            {
                // What came before the end has nowhere to go either; the end is what was told.
            }

            return code;
        }
    }

    /// <summary>With the first verb that is named alone, which an error or a call for help shows to be another's line: then with all.</summary>
    private static ParseResult Parse(VerbContext context, string[] words)
    {
        string? named = words.FirstOrDefault(static word => Array.Exists(s_verbs, verb => verb.Name == word));
        if (named is not null)
        {
            ParseResult parsed = Build(context, named).Parse(words, s_parser);
            if (parsed.Errors.Count == 0 && parsed.CommandResult.Command is Verb)
            {
                return parsed;
            }
        }

        return Build(context).Parse(words, s_parser);
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

    /// <summary>What the parser tells with the name of a type, in words.</summary>
    private static string? NotANumber(ParseError error)
    {
        SymbolResult? result = error.SymbolResult is ArgumentResult { Parent: OptionResult above } ? above : error.SymbolResult;
        return result is OptionResult { Option: Option<int?> option, Tokens: [{ Value: string given }] } && !int.TryParse(given, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out _)
            ? $"found {option.Name} '{given}', expected a whole number"
            : null;
    }

    private static UserError Explain(ParseResult parsed)
    {
        string trouble = NotANumber(parsed.Errors[0]) ?? parsed.Errors[0].Message.TrimEnd('.');
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
}
