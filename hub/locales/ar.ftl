# رسائل المركز. كل مفتاح هنا موجود في en.ftl أيضًا.
nodes-listed = العقد
node-found = العقدة
node-being-made = العقدة قيد الإنشاء؛ تابعها على العنوان المذكور في Location
node-being-changed = العقدة قيد التعديل؛ تابعها على العنوان المذكور في Location
node-being-deleted = العقدة قيد الحذف؛ بياناتها محفوظة
statistics = أحوال المنصة
revenue-summed = مجاميع الإيرادات
audit-listed = سجل الأعمال

holding-suspended = هذه المدرسة مغلقة مؤقتًا، وبياناتها محفوظة.
holding-soon = هذه المدرسة قيد التجهيز، عُد بعد دقائق من فضلك.
holding-unknown = لا توجد مدرسة على هذا العنوان.

wrong-credentials = البريد الإلكتروني أو كلمة المرور غير صحيحة
account-suspended = هذا الحساب موقوف، تواصل مع مدير المنصة
reset-invalid = الرمز غير صالح أو انتهت صلاحيته أو استُعمل؛ اطلب رمزًا آخر من مدير المنصة
slug-taken = توجد عقدة بهذا الاسم من قبل
node-drops-database = ستُحذف قاعدة بيانات هذه العقدة معها، ولا يأمر بذلك إلا مهندس المنصة؛ اجعل سياسة الاستبقاء Retain أولًا
field-owned = { $fields }: يملكه { $manager } وسيعيده كما كان؛ عدّله هناك
cluster-forbids = العنقود لا يسمح بهذا؛ تواصل مع مهندس المنصة
last-platform-admin = هذا آخر مدير نشط للمنصة؛ عيّن مديرًا آخر أولًا

field-slug = من ٣ إلى ٤٠ من a-z و0-9 و«-»، يبدأ بحرف وينتهي بحرف أو رقم؛ وبعض الأسماء محجوز
field-node-name = من ١ إلى ١٢٨ محرفًا
field-region = قيمة وسم مثل mena
field-country = رمز بلد وفق ISO 3166-1 من حرفين مثل SA
field-node-currency = رمز عملة وفق ISO 4217 مثل SAR؛ ولا يمكن تغييرها أبدًا
field-timezone = اسم منطقة زمنية وفق IANA مثل Asia/Riyadh
field-node-state = Active أو Suspended أو Inactive
field-settings = كائن لا يتجاوز ٦٤ مفتاحًا و٦٤ كيلوبايت
field-spec = ما يجوز أن يكون في LocalNode
field-display-name = من ١ إلى ١٢٨ محرفًا في سطر واحد
field-central-role = platform-admin أو content-manager أو finance أو support
field-status = active أو suspended
field-role = student أو instructor أو admin
field-items = ٥٠٠ عنصر على الأكثر
field-report-by = node أو country أو month أو day
field-day = يوم مثل 2026-11-25
