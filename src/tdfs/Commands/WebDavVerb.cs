using System.CommandLine;
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Text;
using TokTok.Storage.Tdfs.Facades;

namespace TokTok.Storage.Tdfs.Commands;

/// <summary>`tdfs webdav [VOLUME]`: a volume for whatever speaks WebDAV, as long as the verb runs.</summary>
internal static class WebDavVerb
{
    /// <summary>WebDAV is RFC 4918.</summary>
    private const string DefaultListen = "127.0.0.1:4918";

    internal static Verb Create(VerbContext context)
    {
        Argument<string?> name = new("volume") { Description = "The volume's name, unless there is only one", Arity = ArgumentArity.ZeroOrOne };
        Option<string> listen = new("--listen") { Description = "Address and port; anything but loopback can be read by the network it is on", HelpName = "address:port", DefaultValueFactory = static _ => DefaultListen };
        Option<string?> tokenFile = new("--token-file") { Description = "A file whose first line is the password; without it one is made once and kept in the store's folder", HelpName = "file" };
        Option<bool> create = new("--create") { Description = "Make the volume if there is none of that name" };
        Verb verb = new(
            "webdav",
            "Serves a volume to Windows, macOS, phones, file managers and rclone without a driver, until Ctrl-C; what was uploaded survives any crash",
            "tdfs webdav                                  # the only volume there is, on this machine alone",
            "tdfs webdav work --listen 192.168.1.5:4918   # for the local network, unencrypted")
        {
            name, listen, tokenFile, create,
        };
        verb.Does(context, async (run, cancel) =>
        {
            string? volume = run.Get(name);
            if (volume is not null)
            {
                SnapshotWords.RefuseVolume(volume, "");
            }
            else if (run.Get(create))
            {
                throw new UserError(ExitCode.Usage, "found --create without a volume, expected `tdfs webdav --create NAME`");
            }

            IPEndPoint endpoint = Parse(run.Get(listen) ?? "");
            string? token = run.Get(tokenFile);
            if (token is { Length: 0 })
            {
                throw new UserError(ExitCode.Usage, "found an empty --token-file, expected a file");
            }

            IStoreSession store = await run.OpenAsync(StoreAccess.Serve, cancel).ConfigureAwait(false);
            await using (store.ConfigureAwait(false))
            {
                var request = new WebDavRequest { Volumes = volume is null ? [] : [volume], Endpoint = endpoint, TokenFile = token is null ? null : run.FullPath(token), Creates = run.Get(create) };
                string served = (await store.WebDav.ServeAsync(request, address => Tell(run, address), cancel).ConfigureAwait(false))[0];
                run.Output.Result(json => json.WriteString("volume", served), text => text.WriteLine($"{served}: served no more, everything committed"));
                return ExitCode.Ok;
            }
        });
        return verb;
    }

    /// <summary>The password is shown to a person at a terminal; what goes to a log names its file alone.</summary>
    internal static void Tell(VerbRun run, WebDavAddress address)
    {
        run.Output.Say($"{string.Join(", ", address.Volumes)} {(address.Volumes.Count == 1 ? "is" : "are")} served at {address.Url}; Ctrl-C ends it");
        if (!address.Url.IsLoopback)
        {
            run.Output.Say("whoever is on the way to other machines can read what passes, the password too: nothing here is encrypted");
        }

        if (run.Output.TerminalWidth is null)
        {
            run.Output.Say($"any user name; the password is in {address.TokenFile}");
            return;
        }

        string token = Encoding.ASCII.GetString(address.Token.Span);
        run.Output.Say($"any user name; the password is {token}");
        run.Output.Say($"all in one:    {address.Url.Scheme}://tdfs:{Uri.EscapeDataString(token)}@{address.Url.Authority}/");
    }

    private static IPEndPoint Parse(string listen) => TryParse(listen, out IPEndPoint? endpoint)
        ? endpoint
        : throw new UserError(ExitCode.Usage, $"found '{listen}' for --listen, expected an address and a port such as {DefaultListen} or [::1]:4918");

    /// <summary>An address with its port; localhost is 127.0.0.1.</summary>
    internal static bool TryParse(string listen, [NotNullWhen(true)] out IPEndPoint? endpoint)
    {
        string address = listen.StartsWith("localhost:", StringComparison.OrdinalIgnoreCase) ? $"127.0.0.1{listen["localhost".Length..]}" : listen;
        return IPEndPoint.TryParse(address, out endpoint) && address.LastIndexOf(':') > address.LastIndexOf(']') && (endpoint.Address.GetAddressBytes().Length == 4 || address[0] == '[');
    }
}
