using System.Text;
using System.Xml;
using System.Xml.Linq;

namespace TokTok.Storage.WebDav;

/// <summary>The name of a property: a namespace and a name in it.</summary>
internal readonly record struct PropertyName(string Namespace, string Name)
{
    internal const string Dav = "DAV:";

    /// <summary>Where Windows keeps its times and attributes.</summary>
    internal const string Windows = "urn:schemas-microsoft-com:";
}

/// <summary>What a PROPFIND asks for.</summary>
/// <param name="IsNamesOnly">propname.</param>
/// <param name="IsAll">allprop: what RFC 4918 defines, the dead properties, and those named besides (include).</param>
internal sealed record PropertyQuery(bool IsNamesOnly, bool IsAll, IReadOnlyList<PropertyName> Names);

/// <summary>One thing a PROPPATCH does.</summary>
/// <param name="Value">The whole element; null: the property is removed.</param>
internal sealed record PropertyChange(PropertyName Name, string? Value)
{
    /// <summary>The text in the element, for properties that are more than kept.</summary>
    internal string Text { get; init; } = "";
}

/// <summary>What a LOCK asks for.</summary>
internal sealed record LockQuery(bool IsShared, string Owner);

/// <summary>Reads the bodies of requests.</summary>
/// <remarks>
/// Source: RFC 4918 14, and 20.6 for what a hostile body may try: no document type, so no entities, and nothing outside is fetched; a body has at most <see cref="MaxBodyBytes"/>, and
/// <see cref="MaxDepth"/> elements within one another, and <see cref="MaxProperties"/> properties. Elements that are not known are passed over (17).
/// </remarks>
internal static class DavXml
{
    internal const int MaxBodyBytes = 256 * 1024;

    internal const int MaxProperties = 256;

    internal const int MaxOwnerChars = 4096;

    /// <summary>Elements within elements.</summary>
    internal const int MaxDepth = 64;

    private static readonly XNamespace s_dav = PropertyName.Dav;

    internal static PropertyQuery ReadPropertyQuery(ReadOnlyMemory<byte> body)
    {
        if (body.IsEmpty)
        {
            return new PropertyQuery(false, true, []);
        }

        XElement query = Read(body, "propfind");
        bool isAll = query.Element(s_dav + "allprop") is not null;
        bool isNames = query.Element(s_dav + "propname") is not null;
        bool isSome = query.Element(s_dav + "prop") is not null;
        if ((isAll ? 1 : 0) + (isNames ? 1 : 0) + (isSome ? 1 : 0) != 1)
        {
            throw new DavException(400, "Expected one of allprop, propname and prop in propfind.");
        }

        PropertyName[] names = [.. query.Elements(s_dav + (isAll ? "include" : "prop")).Elements().Select(NameOf).Distinct()];
        CheckCount(names.Length);
        return new PropertyQuery(isNames, isAll, names);
    }

    internal static IReadOnlyList<PropertyChange> ReadPropertyUpdate(ReadOnlyMemory<byte> body)
    {
        List<PropertyChange> changes = [];
        foreach (XElement part in Read(body, "propertyupdate").Elements())
        {
            bool isSet = part.Name == s_dav + "set";
            if (isSet || part.Name == s_dav + "remove")
            {
                changes.AddRange(part.Elements(s_dav + "prop").Elements().Select(value => new PropertyChange(NameOf(value), isSet ? Whole(value) : null) { Text = value.Value }));
                CheckCount(changes.Count);
            }
        }

        return changes.Count > 0 ? changes : throw new DavException(400, "Found no property to set or remove.");
    }

    internal static LockQuery ReadLockQuery(ReadOnlyMemory<byte> body)
    {
        XElement query = Read(body, "lockinfo");
        XElement? scope = query.Element(s_dav + "lockscope");
        bool isShared = scope?.Element(s_dav + "shared") is not null;
        bool isExclusive = scope?.Element(s_dav + "exclusive") is not null;
        if (isShared == isExclusive || query.Element(s_dav + "locktype")?.Element(s_dav + "write") is null)
        {
            throw new DavException(400, "Expected the lockscope exclusive or shared and the locktype write.");
        }

        string owner = query.Element(s_dav + "owner") is { } told ? Whole(told) : "";
        return owner.Length <= MaxOwnerChars ? new LockQuery(isShared, owner)
            : throw new DavException(400, $"Found an owner of {owner.Length} characters, expected at most {MaxOwnerChars}.");
    }

    /// <summary>Whether bytes that somebody stored as a property's element are one, and may be put into an answer as they are.</summary>
    internal static bool IsElement(ReadOnlyMemory<byte> stored, PropertyName name)
    {
        try
        {
            _ = new UTF8Encoding(false, throwOnInvalidBytes: true).GetCharCount(stored.Span);
            using XmlReader reader = Open(stored);
            return reader.Read() && reader.NodeType == XmlNodeType.Element && reader.LocalName == name.Name && reader.NamespaceURI == name.Namespace && HasEnd(reader);
        }
        catch (Exception wrong) when (wrong is XmlException or ArgumentException)
        {
            return false;
        }
    }

    private static XElement Read(ReadOnlyMemory<byte> body, string root)
    {
        try
        {
            using (XmlReader first = Open(body))
            {
                if (!HasEnd(first))
                {
                    throw new DavException(400, $"Found elements more than {MaxDepth} deep.");
                }
            }

            using XmlReader reader = Open(body);
            XElement element = XElement.Load(reader, LoadOptions.PreserveWhitespace);
            return element.Name == s_dav + root ? element : throw new DavException(400, $"Found a body that is no {root}.");
        }
        catch (Exception wrong) when (wrong is XmlException or ArgumentException)
        {
            throw new DavException(400, "The body is not well-formed XML, or has a document type.");
        }
    }

    /// <summary>Reads to the end; false where it goes too deep.</summary>
    private static bool HasEnd(XmlReader reader)
    {
        while (reader.Read())
        {
            if (reader.Depth > MaxDepth)
            {
                return false;
            }
        }

        return true;
    }

    private static XmlReader Open(ReadOnlyMemory<byte> bytes) => XmlReader.Create(
        new MemoryStream(bytes.ToArray(), writable: false),
        new XmlReaderSettings
        {
            DtdProcessing = DtdProcessing.Prohibit,
            XmlResolver = null,
            MaxCharactersInDocument = MaxBodyBytes,
            IgnoreComments = true,
            IgnoreProcessingInstructions = true,
        });

    private static PropertyName NameOf(XElement element) => new(element.Name.NamespaceName, element.Name.LocalName);

    /// <summary>The element as text that stands alone: with the namespaces it uses, and the language that elements around it set (RFC 4918 4.3).</summary>
    private static string Whole(XElement element)
    {
        XAttribute? language = element.AncestorsAndSelf().Attributes(XNamespace.Xml + "lang").FirstOrDefault();
        if (language is not null)
        {
            element.SetAttributeValue(XNamespace.Xml + "lang", language.Value);
        }

        return element.ToString(SaveOptions.DisableFormatting);
    }

    private static void CheckCount(int count)
    {
        if (count > MaxProperties)
        {
            throw new DavException(400, $"Found {count} properties in one request, expected at most {MaxProperties}.");
        }
    }
}
